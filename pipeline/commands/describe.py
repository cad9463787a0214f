"""`tak describe`: a language model describes every organ."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pipeline.commands.shared import options as of

if TYPE_CHECKING:
    from knowledge.asking.describe import DescribeResult
    from pipeline.texts.asking import DescribeJob, ScanJudge

KEPT = "nothing was asked or written; the same command starts again"
LEFT_CONTRADICTED = 3  # exit code: written, with claims that labeled scans contradict
LEFT_OPEN = 4  # exit code: not written, because questions are open for another batch


def describe(
    descriptor: of.OrganList,
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
    probe_again: of.ProbeAgain = False,
    save_answers: of.SaveAnswers = None,
    batch_out: of.BatchOut = None,
    batch_in: of.BatchIn = None,
    dry_run: of.DryRun = False,
) -> None:
    """Ask a model to describe every organ and aspect; write validated descriptions as JSON.

    Shipped answers need no key: `tak describe phantom -o descriptions.json`. A live model: `tak
    describe amos --provider openai_compatible --model gpt-4o`; a local one: add `--base-url
    http://localhost:11434/v1`; Azure: `--base-url
    https://NAME.openai.azure.com/openai/deployments/DEPLOYMENT --query api-version=2024-10-21
    --header api-key=env:AZURE_OPENAI_API_KEY`. A second run asks only the open questions.

    In bulk: --batch-out FILE writes the questions for OpenAI's Batch API or `vllm run-batch`,
    --batch-in FILE reads the answers; with both, open questions are written as the next batch.

    Exit code 3 with --verify: contradicted claims are left; the file is written. Exit code 4 with
    --batch-in: questions are open; the file is not written.
    """
    from pipeline.datasets.organ_lists import read_organ_list
    from pipeline.files.outputs import require_writable
    from pipeline.texts import asking, services

    wording, listed = asking.wording(template, var or []), read_organ_list(descriptor)
    target = out or Path("descriptions") / f"{listed.name}.json"
    if not dry_run:
        require_writable(target, "descriptions", answers, Path(descriptor))
        if batch_out:
            require_writable(batch_out, "batch", *(batch_in or []), Path(descriptor))
    if wording.literal:
        typer.echo(asking.write_literal(wording, listed.classes, target))
        return
    service = services.service(
        model, base_url, key_env, header, query,
        output=output, temperature=temperature, seed=seed, max_answer_tokens=max_answer_tokens,
        timeout_seconds=timeout, retries=retries, tokens_per_image=tokens_per_image,
        probe_again=probe_again,
    )  # fmt: skip
    limits = asking.Limits(
        samples, attempts, concurrency, rounds, max_tokens_total, max_cost, refresh
    )
    job = asking.DescribeJob(
        wording,
        listed.classes,
        services.make_provider(provider, wording, service, answers, cache),
        limits,
        services.answer_cache(cache),
        services.quote_of(model, prices),
        asking.pictures(images, renderings, listed.classes),
    )
    if dry_run:
        typer.echo(asking.preview(job))
        return
    judge = asking.judge(scans, descriptor, split) if verify else None
    if batch_out or batch_in:
        result = _in_batches(job, batch_in or [], batch_out, judge)
    else:
        result = asking.run(job, judge)
    typer.echo(asking.write(job, result, target, save_answers))
    if judge is not None:
        typer.echo("\n".join(asking.verification_lines(result)))
        if any(each.after for each in result.verified):
            raise typer.Exit(LEFT_CONTRADICTED)


def _in_batches(
    job: "DescribeJob", answers: list[Path], out: Path | None, judge: "ScanJudge | None"
) -> "DescribeResult":
    """The descriptions, if every answer of the batches is present; else the command exits."""
    from pipeline.texts import batches

    result = batches.run_batch(job, answers, out, judge)
    for line in result.lines:
        typer.echo(line, err=True)
    if result.unusable is not None:
        raise result.unusable
    if result.described is not None:
        return result.described
    if not answers:
        raise typer.Exit
    hint = "" if out else "; --batch-out FILE writes them as the next batch"
    typer.echo(f"{result.open} questions are open{hint}", err=True)
    raise typer.Exit(LEFT_OPEN)
