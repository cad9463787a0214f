"""From `name:argument` to a text encoder, and a bank in words."""

import os

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from knowledge.bank import Bank
from knowledge.encoder import TextEncoder
from pipeline.choose import choose


def make_encoder(spec: str, device: str = "cpu") -> TextEncoder:
    """The encoder of a spec such as `hashing:512` or `openclip:ViT-B-32@openai`.

    Raises:
        LookupError: no such encoder.
        OSError: its weights cannot be had.
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    name, _, argument = spec.partition(":")
    kind = choose("knowledge.encoders", name, TextEncoder)
    return kind.from_argument(argument, device)


def line(bank: Bank) -> str:
    """A bank in one line."""
    classes, _, width = bank.vectors.shape
    limit = "no limit" if bank.token_limit is None else f"limit {bank.token_limit}"
    return (
        f"{classes} classes, aspects {', '.join(bank.aspects)}, width {width}, "
        f"encoder {bank.encoder}, at most {bank.token_counts.max()} tokens ({limit})"
    )


def tables(bank: Bank, *, texts: bool) -> None:
    """Print a bank: its facts, then a row per class and aspect."""
    console = Console()
    facts = Table("fact", Column("value", overflow="fold"), show_header=False, box=None)
    for key, value in facts_of(bank).items():
        facts.add_row(key, value)
    console.print(facts)
    rows = Table("class", "aspect", "tokens", "norm", *(["text"] if texts else []))
    for row, name in enumerate(bank.classes):
        for column, aspect in enumerate(bank.aspects):
            norm = float(np.linalg.norm(bank.vectors[row, column]))
            cells = [name, aspect, str(bank.token_counts[row, column]), f"{norm:.2f}"]
            rows.add_row(*cells, *([bank.texts[row][column]] if texts else []))
    console.print(rows)


def facts_of(bank: Bank) -> dict[str, str]:
    """What a bank says of itself, in words."""
    classes, aspects, width = bank.vectors.shape
    known = f"{len(bank.fingerprint)} sentences" if len(bank.fingerprint) else "unknown"
    facts = {
        "vectors": f"{classes} classes x {aspects} aspects x {width}",
        "encoder": bank.encoder,
        "fingerprint": known,
        "token limit": "none" if bank.token_limit is None else str(bank.token_limit),
        "long texts": bank.long_text,
        "digest": bank.digest,
        "descriptions": bank.description_digest or "none",
    }
    origin = {f"origin {key}": str(value) for key, value in bank.origin.items()}
    return facts | origin
