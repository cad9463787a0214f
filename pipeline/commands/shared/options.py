"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.texts.encoders import forms

OrganList = Annotated[
    str, typer.Argument(help="A shipped data set name, or a file that lists the organs.")
]
Descriptions = Annotated[
    Path | None, typer.Option("--out", "-o", help="Default: descriptions/NAME.json.")
]
Template = Annotated[str, typer.Option(help="A shipped prompt wording, or a TOML file.")]
Provider = Annotated[str, typer.Option(help="recorded or openai_compatible.")]
Answers = Annotated[Path | None, typer.Option(help="Answer store to replay (provider recorded).")]
Model = Annotated[str, typer.Option(help="Model name, as the server knows it.")]
BaseUrl = Annotated[
    str | None, typer.Option(help="Server address, such as http://localhost:11434/v1.")
]
KeyEnv = Annotated[str, typer.Option(help="Environment variable that holds the key.")]
Header = Annotated[
    list[str] | None,
    typer.Option(
        help="Send this HTTP header: NAME=VALUE, or NAME=env:VARIABLE for a secret. "
        "Values are never stored or printed."
    ),
]
Query = Annotated[
    list[str] | None,
    typer.Option(help="Add to the address: NAME=VALUE, such as api-version=2024-10-21."),
]
Output = Annotated[
    str,
    typer.Option(
        help="auto, json_schema, json_object_schema, json_object, text (JSON in words) or plain."
    ),
]
Temperature = Annotated[float | None, typer.Option(help="Sampling temperature.")]
Seed = Annotated[int | None, typer.Option(help="Seed of the service's sampling.")]
Samples = Annotated[int, typer.Option(min=1, help="Answers per question.")]
Attempts = Annotated[int, typer.Option(min=1, help="How often an unusable answer is asked for.")]
Concurrency = Annotated[int, typer.Option(min=1, help="Questions under way at once.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds to wait for an answer.")]
Retries = Annotated[int, typer.Option(min=0, help="How often a failed call is repeated.")]
ImageChoice = Annotated[
    str, typer.Option(help="none, or multi: send renderings; the model must see pictures.")
]
RenderingFolder = Annotated[
    Path | None, typer.Option(help="Folder made by `tak render`, for --images multi.")
]
Scans = Annotated[Path | None, typer.Option(help="Labeled scans, for --verify: see `tak check`.")]
Verify = Annotated[bool, typer.Option(help="Show claims that the scans contradict, and ask again.")]
Rounds = Annotated[int, typer.Option(min=1, help="How often --verify asks again.")]
ScanSplit = Annotated[str | None, typer.Option(help="Split of the scans, if several.")]
MaxAnswerTokens = Annotated[int, typer.Option(min=1, help="Longest answer, in the model's tokens.")]
MaxTokensTotal = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Stop before more tokens are spent. Each call is first counted as the most that it "
        "may take (a token for every byte of text, the longest answer), then as what it took.",
    ),
]
MaxCost = Annotated[
    float | None,
    typer.Option(
        min=0, help="Stop before more US dollars are spent; counted as --max-tokens-total."
    ),
]
TokensPerImage = Annotated[
    int,
    typer.Option(
        min=1,
        help="The most that your model counts for a picture, for the limits. The default is "
        "above what any known service counts.",
    ),
]
Prices = Annotated[Path | None, typer.Option(help="Your own price table (TOML).")]
Variables = Annotated[
    list[str] | None, typer.Option(help="Set a variable of the template: name=value.")
]
Cache = Annotated[Path | None, typer.Option(help="Folder of cached answers.")]
Refresh = Annotated[bool, typer.Option(help="Ask again for cached answers too.")]
SaveAnswers = Annotated[
    Path | None, typer.Option(help="Write the raw answers as a store for `recorded`.")
]
DescriptionFile = Annotated[Path, typer.Argument(help="Descriptions made by `tak describe`.")]
BankOut = Annotated[Path, typer.Option("--out", "-o", help="The bank to write.")]
Encoder = Annotated[
    str,
    typer.Option(help=f"Text encoder: {'; '.join(forms())}."),
]
LongText = Annotated[
    str,
    typer.Option(help="Texts beyond the encoder's limit: error, split-mean, truncate, or shorten."),
]
EncoderDevice = Annotated[
    str, typer.Option("--device", help="Torch device of the encoder: cpu, cuda, mps or auto.")
]
Into = Annotated[
    Path | None, typer.Option(help="Add to this bank, which must be of the same encoder.")
]
Shortener = Annotated[str, typer.Option("--model", help="Model for --long-text shorten.")]
DryRun = Annotated[bool, typer.Option(help="Show every question and the cost; ask nothing.")]

Descriptor = Annotated[
    str | None,
    typer.Option(help="A shipped data set name, or a TOML file. [default: ROOT/dataset.toml]"),
]

Jobs = Annotated[int, typer.Option(help="Processes.")]

Device = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps; auto takes the best.")
]

Checkpoint = Annotated[
    str, typer.Option("--checkpoint", help="best (on the validation cases) or last.")
]

Predictor = Annotated[
    str | None,
    typer.Option("--predictor", help="student, teacher, ensemble ...; default: the recipe's."),
]
