"""The command `tak`: a verb per command, heavy imports only inside the command."""

import os
import sys
from typing import Annotated

import typer

from pipeline import startup
from pipeline.commands import (
    adopt,
    bank,
    bundle,
    check,
    compare,
    demo,
    describe,
    encode,
    evaluate,
    info,
    init,
    inspect,
    phantom,
    predict,
    prepare,
    push,
    recipe,
    render,
    report,
    rerun,
    sensitivity,
    split,
    study,
    train,
)
from pipeline.commands.shared.interrupts import stoppable
from pipeline.commands.shared.many_words import ManyWords
from pipeline.config.plugins import VARIABLE, plugin_folders

# The panels of `tak --help`, in the order of the work. A module of `pipeline.commands` defines a
# function, or a group of commands, that has the module's own name.
PANELS = {
    "First steps": (demo, info, recipe),
    "Data": (phantom, init, inspect, split, prepare),
    "Text": (describe, check, render, encode, bank),
    "Training": (train, study, rerun, adopt),
    "Results": (evaluate, compare, sensitivity, report),
    "Your own scans": (predict, bundle, push),
}

app = typer.Typer(
    name="tak",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Textual anatomical knowledge for semi-supervised multi-organ segmentation.",
)
for _panel, _modules in PANELS.items():
    for _module in _modules:
        _verb = _module.__name__.rpartition(".")[2]
        _command = getattr(_module, _verb)
        if isinstance(_command, typer.Typer):
            app.add_typer(_command, name=_verb, rich_help_panel=_panel)
        else:
            app.command(cls=ManyWords, rich_help_panel=_panel)(stoppable(_command, _module.KEPT))


def _version(wanted: bool) -> None:
    if wanted:
        from pipeline.files.shipped import version

        typer.echo(f"tak-seg {version()}")
        raise typer.Exit


@app.callback()
def settings(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Version of tak-seg."),
    ] = False,
    prompts: Annotated[
        str | None, typer.Option(help="Folder of your prompt templates, beside the shipped ones.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Folder of your data set descriptors and answers, beside the shipped."),
    ] = None,
    plugins: Annotated[
        str | None,
        typer.Option(help="Folder of your methods, heads, alignments, encoders and providers."),
    ] = None,
) -> None:
    """Scans and organ names in, a text-driven segmentation model and masks out."""
    for name, folder in (("TAK_PROMPTS", prompts), ("TAK_DATA", data), (VARIABLE, plugins)):
        if folder is not None:
            os.environ[name] = os.path.abspath(folder)  # workers may run elsewhere
    plugin_folders()


def main() -> None:
    """Run `tak`; what a user can mend ends as one line on stderr and exit code 1.

    `TAK_DEBUG=1` shows the traceback instead.
    """
    startup.configure_process()
    try:
        app()
    except (ValueError, OSError, LookupError) as fault:
        mendable = not isinstance(fault, KeyError | IndexError)
        if not mendable or os.environ.get("TAK_DEBUG"):
            raise
        typer.echo(f"error: {message_of(fault)}", err=True)
        sys.exit(1)


def message_of(fault: Exception) -> str:
    """A fault in words; one of the system names its file first, and its number not at all."""
    if isinstance(fault, OSError) and fault.filename and fault.strerror:
        return f"{fault.filename}: {fault.strerror.lower()}"
    return str(fault) or type(fault).__name__
