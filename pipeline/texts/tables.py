"""Results of the knowledge stage as tables in the terminal."""

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from knowledge.bank.bank import Bank
from knowledge.bank.control_kinds import DRAWN, KINDS
from knowledge.bank.merge import VectorDifference
from knowledge.bank.origin import caveats, in_words
from knowledge.bank.statistics import statistics
from knowledge.grounding.claims import CheckReport

_COLORS = {"supported": "green", "contradicted": "red", "untestable": "yellow"}


def show_report(report: CheckReport) -> None:
    """Print every claim with its verdict, then problems, then the totals."""
    console = Console()
    table = Table("claim", "verdict", "cases", "measured")
    for result in report.results:
        tested = result.supported + result.contradicted
        measured = "" if result.measured is None else f"{result.measured:.1f} {result.unit}"
        color = _COLORS[result.verdict]
        cases = f"{result.supported} of {tested}"
        if result.untestable:
            cases += f" ({result.untestable} cannot tell)"
        table.add_row(plain(str(result.claim)), f"[{color}]{result.verdict}[/]", cases, measured)
    console.print(table)
    for problem in report.problems:
        console.print(plain(f"problem: {problem}"))
    counts = ", ".join(f"{report.count(verdict)} {verdict}" for verdict in _COLORS)
    share = report.supported_share
    shown = "no testable claim" if share is None else f"supported share {share:.3f}"
    if share is not None and not report.independent:
        shown += " (not independent)"
    console.print(
        f"{len(report.results)} claims on {len(report.cases)} cases: {counts}; {shown}",
        soft_wrap=True,
    )
    if not report.independent:
        corrected = plain(", ".join(report.verified_on))
        console.print("not independent: the answers were corrected on", corrected, soft_wrap=True)
    if report.edited:
        console.print("edited by hand:", plain("; ".join(report.edited)), soft_wrap=True)


def show_bank(bank: Bank, *, texts: bool) -> None:
    """Print a bank: its facts, then a row per class and aspect."""
    console = Console()
    facts = Table("fact", Column("value", overflow="fold"), show_header=False, box=None)
    for key, value in facts_of(bank).items():
        facts.add_row(plain(key), plain(value))
    console.print(facts)
    for sentence in caveats(bank.origin):
        console.print(plain(f"caveat: {sentence}"), soft_wrap=True)
    rows = Table("class", "aspect", "tokens", "norm", *(["text"] if texts else []))
    for row, name in enumerate(bank.classes):
        for column, aspect in enumerate(bank.aspects):
            norm = float(np.linalg.norm(bank.vectors[row, column]))
            cells = [name, aspect, str(bank.token_counts[row, column]), f"{norm:.2f}"]
            cells += [bank.texts[row][column]] if texts else []
            rows.add_row(*map(plain, cells))
    console.print(rows)


def facts_of(bank: Bank) -> dict[str, str]:
    """Properties of a bank, in words."""
    classes, aspects, width = bank.vectors.shape
    known = f"{len(bank.fingerprint)} sentences" if len(bank.fingerprint) else "unknown"
    control = {"kind": _control(bank)} if bank.control else {}
    facts = control | {
        "vectors": f"{classes} classes x {aspects} aspects x {width}",
        "encoder": bank.encoder,
        "fingerprint": known,
        "token limit": "none" if bank.token_limit is None else str(bank.token_limit),
        "long texts": bank.long_text,
        "digest": bank.digest,
        "descriptions": bank.description_digest or "none",
    }
    return facts | {f"origin {key}": in_words(value) for key, value in bank.origin.items()}


def _control(bank: Bank) -> str:
    """The control and the source of its vectors, in words."""
    kind = bank.origin["kind"]
    source = "vectors from no text" if kind in DRAWN else "texts changed"
    return f"{bank.control} ({KINDS.get(kind, 'unknown kind')}; {source})"


def show_statistics(bank: Bank, pairs: int) -> None:
    """Print how well each aspect tells the classes apart."""
    table = Table("aspect", "norms", "mean cosine", "effective rank", "left/right separation")
    rows = statistics(bank, pairs)
    for item in rows:
        norms = f"{item.smallest_norm:.2f} to {item.largest_norm:.2f}, mean {item.mean_norm:.2f}"
        sides = "no pairs" if item.side_separation is None else f"{item.side_separation:.2f}"
        table.add_row(
            plain(item.aspect),
            norms,
            f"{item.mean_cosine:.3f}",
            f"{item.effective_rank:.1f}",
            sides,
        )
    console = Console()
    console.print(table)
    for item in rows:
        for cosine, one, other in item.pairs:
            console.print(plain(f"{item.aspect}: {one} and {other} are alike ({cosine:.3f})"))


def show_difference(one: Bank, other: Bank, differences: Sequence[VectorDifference]) -> None:
    """Print cosines of the shared vectors, smallest first, and names of only one bank."""
    table = Table("class", "aspect", "cosine", "text")
    for item in sorted(differences, key=lambda item: item.cosine):
        text = "same" if item.same_text else "differs"
        table.add_row(plain(item.organ), plain(item.aspect), f"{item.cosine:.4f}", text)
    console = Console()
    console.print(table)
    for label, first, second in (("first", one, other), ("second", other, one)):
        only = [name for name in first.classes if name not in second.classes]
        only += [name for name in first.aspects if name not in second.aspects]
        if only:
            console.print(plain(f"only in the {label}: {', '.join(only)}"), soft_wrap=True)
    mean = sum(item.cosine for item in differences) / len(differences)
    console.print(f"{len(differences)} vectors in both, mean cosine {mean:.4f}")


def plain(text: str) -> Text:
    """A text without markup and without control characters of the terminal.

    Names and sentences come from files that others wrote, and the sentences from models.
    """
    return Text("".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text))
