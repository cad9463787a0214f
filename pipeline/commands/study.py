"""`tak study`: a comparison of texts, methods or seeds, from one file."""

from pathlib import Path
from typing import Annotated

import typer

KEPT = "finished stages are kept; the same command continues"  # after a signal


def study(
    file: Annotated[
        Path, typer.Argument(help="Study file (TOML), or the name of a shipped study.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder of the tables, or the study with --convert. [default: FILE's stem]",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of scans as downloaded, in place of that of the study."),
    ] = None,
    store: Annotated[
        Path, typer.Option(help="Folder of finished stages, shared by studies.")
    ] = Path("store"),
    plan_only: Annotated[
        bool, typer.Option("--plan", help="Print finished and open stages, and their cost.")
    ] = False,
    former: Annotated[
        bool,
        typer.Option(
            "--convert",
            help="Write FILE, a matrix or variants of version 0.1, as a study; run nothing.",
        ),
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Stages at once. [default: one per GPU, or cores / --threads]"),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of each job.")] = 1,
    gpus: Annotated[
        str, typer.Option(metavar="0,1", help="GPUs to use; jobs take turns on them.")
    ] = "",
    memory: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="GIB", help="Memory of all jobs. [default: 90 % of what is free]"
        ),
    ] = None,
    only: Annotated[
        str,
        typer.Option(
            metavar="KINDS", help="Stages to run, with their inputs, such as encode,control."
        ),
    ] = "",
    device: Annotated[
        str,
        typer.Option(
            help="Device of training: auto, cpu, cuda, cuda:N or mps; auto selects the best."
        ),
    ] = "auto",
    engine: Annotated[
        str,
        typer.Option(
            "--on", help="Where trainings run: here, slurm or ray[:ADDRESS] (extras slurm, ray)."
        ),
    ] = "here",
    job: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Options of jobs: partition=gpu time=600 (SLURM), gpus=0.5 memory_gib=8 (Ray).",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print plan or results as JSON.")] = False,
) -> None:
    """Run a study: describe, check, encode, prepare, train, evaluate, tabulate.

    Every finished stage is stored under the digest of its inputs. A second call, or another study,
    runs only missing stages; failed ones are retried.

    Example: `tak study wordings.toml --plan`, then `tak study wordings.toml`
    A matrix or variants of version 0.1: `tak study matrix.toml --convert -o study.toml`
    """
    if former:
        _convert(file, output or file.with_name(f"{file.stem}-study.toml"))
        return
    from pipeline.experiments.planning import check_cells, chosen_kinds, plan
    from pipeline.experiments.store import Store
    from pipeline.experiments.study import Study
    from pipeline.files import shipped

    chosen = Study.read(shipped.find("studies", file), data)
    kept = Store(store.resolve())
    planned = plan(chosen, kept)
    check_cells(planned)
    if plan_only:
        from pipeline.experiments.estimates import estimate_questions
        from pipeline.experiments.plan_view import plan_json, plan_lines

        asked = estimate_questions(planned, kept)
        lines = [plan_json(planned, asked)] if as_json else plan_lines(planned, asked)
        typer.echo("\n".join(lines))
        return
    from knowledge.common.files import write_whole
    from pipeline.experiments.engines.clusters import check_engine, open_cluster
    from pipeline.experiments.engines.jobs import JobRunner
    from pipeline.experiments.engines.memory import capacity_of
    from pipeline.experiments.engines.run_study import Pool, Runner, default_jobs, with_inputs
    from pipeline.experiments.results.page_content import page_content
    from pipeline.experiments.results.study_results import collect
    from pipeline.experiments.results.tables import show_study, watching_study
    from pipeline.experiments.results.writing import require_same_study, write_results
    from pipeline.files.outputs import require_writable_folder
    from pipeline.report.study_page import render_study

    check_engine(engine)
    if engine != "here" and only:
        raise ValueError(f"--only cannot be combined with --on {engine}")
    wanted = with_inputs(planned, chosen_kinds(only)) if only else None
    folder = require_writable_folder(output or Path(file.stem))
    require_same_study(chosen, folder)
    kept.create()
    devices = tuple(filter(None, gpus.split(",")))
    pool = Pool(
        jobs or default_jobs(threads, devices), threads, devices, device,
        capacity_of(memory, devices),
    )  # fmt: skip
    with watching_study(planned, quiet=as_json) as observer:
        runner: Runner | JobRunner = Runner(planned, kept, pool, observer, wanted)
        if engine != "here":
            cluster, of_job = open_cluster(engine, job or [], planned, kept, pool)
            runner = JobRunner(planned, kept, cluster, observer, pool, of_job)
        result = runner.run()
    results = collect(planned, kept)
    written = write_results(results, planned, kept, folder)
    write_whole(folder / "study.html", render_study(page_content(results, planned, kept)))
    written.append(folder / "study.html")
    if as_json:
        typer.echo((folder / "study.json").read_text(encoding="utf-8"))
    else:
        show_study(results, planned, kept)
        typer.echo(f"wrote {', '.join(map(str, written))}")
    for key, error in result.failed.items():
        stage = next(each for each in planned.stages if each.key == key)
        typer.echo(f"failed: {stage.label}: {error} (log: {kept.log(stage)})", err=True)
    if chosen.changed():
        typer.echo(
            f"{chosen.path} has changed since it was read; the results are of the earlier content",
            err=True,
        )
    if result.interrupted:
        raise KeyboardInterrupt
    if result.failed:
        raise typer.Exit(1)


def _convert(file: Path, target: Path) -> None:
    from knowledge.common.files import write_whole
    from pipeline.experiments.convert import convert
    from pipeline.files.outputs import require_writable

    text = convert(file, require_writable(target, "study", file))
    write_whole(target, text)
    remarks = [line for line in text.splitlines()[1:] if line.startswith("# ")]
    typer.echo("\n".join([f"wrote {target}", *(line[2:] for line in remarks)]))
