"""Text encoders by their specs (`name:argument`), and banks in one line."""

import ast
import os
from typing import TYPE_CHECKING

from knowledge.common.suggest import unknown
from pipeline.config.plugins import Source, plugin_sources, shipped_sources
from pipeline.config.registry import load_choice, names

if TYPE_CHECKING:
    from knowledge.bank.bank import Bank
    from knowledge.encoders.base.encoder import TextEncoder

PACKAGE = "knowledge.encoders"


def make_encoder(spec: str, device: str = "cpu") -> "TextEncoder":
    """The encoder of a spec such as `hashing:512` or `openclip:ViT-B-32@openai`.

    Raises:
        LookupError: no such encoder.
        ValueError: malformed, or a device that this machine does not have; before any loading.
        OSError: the weights are missing, damaged, or cannot be downloaded.
    """
    from knowledge.encoders.base.encoder import TextEncoder
    from knowledge.encoders.base.hub import use_hub

    if device != "cpu":
        from pipeline.runs.devices import select_device

        device = str(select_device(device))
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    name, _, argument = spec.partition(":")
    if name not in names(PACKAGE):
        raise LookupError(unknown("encoder", name, names(PACKAGE)))
    kind = load_choice(PACKAGE, name, TextEncoder)
    repository = kind.hub_repository(argument)
    if repository is None:
        return kind.from_argument(argument, device)
    try:
        use_hub(repository)
        return kind.from_argument(argument, device)
    except OSError as error:
        local = ", ".join(forms("forms"))
        raise OSError(f"{spec}: {error}; offline? use local weights: {local}") from None


def forms(*attributes: str) -> list[str]:
    """The specs of every encoder: the strings of its class attributes `forms`, `hub_forms`.

    They are read from the source: help must not import the encoders' libraries.
    """
    return _forms([*shipped_sources(PACKAGE), *plugin_sources(PACKAGE)], attributes)


def shipped_forms() -> list[str]:
    """The specs of the encoders that come with tak-seg, for help texts."""
    return _forms(shipped_sources(PACKAGE), ())


def _forms(sources: list[Source], attributes: tuple[str, ...]) -> list[str]:
    chosen = attributes or ("hub_forms", "forms")
    collected: list[str] = []
    for source in sources:
        tree = ast.parse(source.file().read_text(encoding="utf-8"))
        assigned = {
            node.target.id: node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value
        }
        for attribute in chosen:
            if attribute in assigned:
                collected += ast.literal_eval(assigned[attribute])
    return collected


def line(bank: "Bank") -> str:
    """A summary of a bank in one line."""
    classes, _, width = bank.vectors.shape
    encoder = f"{bank.encoder} ({bank.control})" if bank.control else bank.encoder
    limit = "no limit" if bank.token_limit is None else f"limit {bank.token_limit}"
    return (
        f"{classes} classes, aspects {', '.join(bank.aspects)}, width {width}, "
        f"encoder {encoder}, at most {bank.token_counts.max()} tokens ({limit})"
    )
