"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.config.registry import shipped_names
from pipeline.texts.encoders import shipped_forms

OrganList = Annotated[
    str, typer.Argument(help="A shipped data set name, or a file that lists the organs.")
]
Descriptions = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", help="Description file to write. [default: descriptions/NAME.json]"
    ),
]
Template = Annotated[
    str,
    typer.Option(
        help="Prompt wording: a shipped name (tak info wording) or a TOML file.",
        rich_help_panel="Questions",
    ),
]
Provider = Annotated[
    str,
    typer.Option(
        help=f"Provider: {' or '.join(shipped_names('knowledge.providers'))}.",
        rich_help_panel="Model and service",
    ),
]
Answers = Annotated[
    Path | None,
    typer.Option(
        help="Answer store to replay (provider recorded).", rich_help_panel="Model and service"
    ),
]
Model = Annotated[
    str,
    typer.Option(
        help="Model name on the server; with recorded, whose answers. [default: by hand]",
        rich_help_panel="Model and service",
    ),
]
BaseUrl = Annotated[
    str | None,
    typer.Option(
        help="Server address, such as http://localhost:11434/v1.",
        rich_help_panel="Model and service",
    ),
]
KeyEnv = Annotated[
    str,
    typer.Option(
        help="Environment variable that holds the key.", rich_help_panel="Model and service"
    ),
]
Header = Annotated[
    list[str] | None,
    typer.Option(
        help="Send this HTTP header: NAME=VALUE, or NAME=env:VARIABLE for a secret. "
        "Values are never stored or printed.",
        rich_help_panel="Model and service",
    ),
]
Query = Annotated[
    list[str] | None,
    typer.Option(
        help="Add to the address: NAME=VALUE, such as api-version=2024-10-21.",
        rich_help_panel="Model and service",
    ),
]
Output = Annotated[
    str,
    typer.Option(
        help="auto, json_schema, json_object_schema, json_object, text (JSON in words) or plain.",
        rich_help_panel="Model and service",
    ),
]
Temperature = Annotated[
    float | None, typer.Option(help="Sampling temperature.", rich_help_panel="Model and service")
]
Seed = Annotated[
    int | None,
    typer.Option(help="Seed of the service's sampling.", rich_help_panel="Model and service"),
]
Samples = Annotated[
    int, typer.Option(min=1, help="Answers per question.", rich_help_panel="Questions")
]
Attempts = Annotated[
    int,
    typer.Option(min=1, help="Attempts per answer until it is valid.", rich_help_panel="Questions"),
]
Concurrency = Annotated[
    int, typer.Option(min=1, help="Concurrent questions.", rich_help_panel="Limits and cost")
]
Timeout = Annotated[
    float,
    typer.Option(
        min=0.1, help="Time limit of a call in seconds.", rich_help_panel="Limits and cost"
    ),
]
Retries = Annotated[
    int,
    typer.Option(min=0, help="Repeats of a failed call.", rich_help_panel="Limits and cost"),
]
ImageChoice = Annotated[
    str,
    typer.Option(
        help="none, or multi: also send renderings (needs a multimodal model).",
        rich_help_panel="Questions",
    ),
]
RenderingFolder = Annotated[
    Path | None,
    typer.Option(
        help="Folder made by `tak render`, for --images multi.", rich_help_panel="Questions"
    ),
]
Scans = Annotated[
    Path | None,
    typer.Option(help="Labeled scans, for --verify: see `tak check`.", rich_help_panel="Truth"),
]
Verify = Annotated[
    bool,
    typer.Option(
        help="Test claims on --scans; show contradicted ones to the model and ask again.",
        rich_help_panel="Truth",
    ),
]
Rounds = Annotated[
    int, typer.Option(min=1, help="Corrections per answer with --verify.", rich_help_panel="Truth")
]
ScanSplit = Annotated[
    str | None, typer.Option(help="Split of the scans, if several.", rich_help_panel="Truth")
]
MaxAnswerTokens = Annotated[
    int,
    typer.Option(
        min=1, help="Longest answer, in the model's tokens.", rich_help_panel="Model and service"
    ),
]
MaxTokensTotal = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Stop before this many tokens are spent (the worst case of each call is reserved "
        "first).",
        rich_help_panel="Limits and cost",
    ),
]
MaxCost = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Stop before this cost in US dollars; see --max-tokens-total.",
        rich_help_panel="Limits and cost",
    ),
]
TokensPerImage = Annotated[
    int,
    typer.Option(
        min=1,
        help="Upper bound of the tokens of one picture, for the limits.",
        rich_help_panel="Limits and cost",
    ),
]
Prices = Annotated[
    Path | None,
    typer.Option(
        help="Price table (TOML). [default: the shipped one]", rich_help_panel="Limits and cost"
    ),
]
Variables = Annotated[
    list[str] | None,
    typer.Option(help="Set a variable of the template: name=value.", rich_help_panel="Questions"),
]
Cache = Annotated[
    Path | None, typer.Option(help="Folder of cached answers.", rich_help_panel="Cached answers")
]
Refresh = Annotated[
    bool,
    typer.Option(
        help="Ask again even where an answer is cached.", rich_help_panel="Cached answers"
    ),
]
ProbeAgain = Annotated[
    bool,
    typer.Option(
        help="Probe the server again, in place of the remembered result.",
        rich_help_panel="Cached answers",
    ),
]
SaveAnswers = Annotated[
    Path | None,
    typer.Option(
        help="Raw answers to write, as a store for provider recorded.",
        rich_help_panel="Cached answers",
    ),
]
BatchOut = Annotated[
    Path | None,
    typer.Option(
        help="Write open questions as a batch (JSON lines) instead of asking them.",
        rich_help_panel="Batches",
    ),
]
BatchIn = Annotated[
    list[Path] | None,
    typer.Option(
        help="Answers of a batch, or its errors; may be given several times.",
        rich_help_panel="Batches",
    ),
]
DescriptionFile = Annotated[Path, typer.Argument(help="Descriptions made by `tak describe`.")]
BankOut = Annotated[Path, typer.Option("--out", "-o", help="The bank to write.")]
Encoder = Annotated[
    str,
    typer.Option(help=f"Text encoder: {'; '.join(shipped_forms())}."),
]
LongText = Annotated[
    str,
    typer.Option(help="Texts beyond the encoder's limit: error, split-mean, truncate, or shorten."),
]
EncoderDevice = Annotated[
    str, typer.Option("--device", help="Torch device of the encoder: cpu, cuda, mps or auto.")
]
Into = Annotated[Path | None, typer.Option(help="Existing bank of the same encoder to add to.")]
Shortener = Annotated[
    str,
    typer.Option(
        "--model", help="Model for --long-text shorten.", rich_help_panel="Model and service"
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        help="Print every question and the cost; make no call.", rich_help_panel="Limits and cost"
    ),
]

Descriptor = Annotated[
    str | None,
    typer.Option(help="A shipped data set name, or a TOML file. [default: ROOT/dataset.toml]"),
]

Jobs = Annotated[int, typer.Option(help="Processes.")]

Device = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps; auto selects the best.")
]

Checkpoint = Annotated[
    str, typer.Option("--checkpoint", help="best (on the validation cases) or last.")
]

Predictor = Annotated[
    str | None,
    typer.Option("--predictor", help="student, teacher, ensemble ...; default: the recipe's."),
]
