"""The card of a bank on a hub, in Markdown."""

from knowledge.bank.bank import Bank
from knowledge.bank.origin import caveats, in_words


def bank_card(bank: Bank, name: str) -> str:
    """A card: contents, encoder, origin, caveats and all texts.

    Args:
        name: the file's name, as title and in the example.
    """
    classes, aspects, width = bank.vectors.shape
    limit = "none" if bank.token_limit is None else f"{bank.token_limit} tokens"
    facts = {
        "classes": classes,
        "aspects": ", ".join(bank.aspects),
        "width": width,
        "encoder": bank.encoder,
        "longest text": f"{bank.token_counts.max()} tokens",
        "limit of the encoder": limit,
        "rule for long texts": bank.long_text,
        **{key.replace("_", " "): in_words(value) for key, value in bank.origin.items()},
    }
    rows = "\n".join(f"| {key} | {_cell(str(value))} |" for key, value in facts.items())
    warnings = "\n".join(f"- {sentence}" for sentence in caveats(bank.origin))
    texts = "\n".join(
        f"| {_cell(label)} | {aspect} | {_cell(text)} |"
        for label, row in zip(bank.classes, bank.texts, strict=True)
        for aspect, text in zip(bank.aspects, row, strict=True)
        if text
    )
    parts = [
        f"# {name}",
        f"Text vectors of {classes} classes with {aspects} aspects each, for the text-driven "
        "segmentation of tak-seg.",
        f"Use: `tak train PREPARED --bank hf:OWNER/NAME -o run`, `tak bank inspect {name}`",
        f"## Origin\n\n| | |\n|---|---|\n{rows}",
        warnings and f"## Caveats\n\n{warnings}",
        texts and f"## Texts\n\n| class | aspect | text |\n|---|---|---|\n{texts}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _cell(text: str) -> str:
    """Text of one cell of a table, with nothing that Markdown or HTML would read."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return " ".join(escaped.split())
