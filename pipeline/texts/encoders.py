"""From `name:argument` to a text encoder, and a bank in words."""

import os

from knowledge.bank.bank import Bank
from knowledge.common.suggest import unknown
from knowledge.encoders.base.encoder import TextEncoder
from knowledge.encoders.base.hub import WITHOUT, use_hub
from pipeline.config.registry import load_choice, names


def make_encoder(spec: str, device: str = "cpu") -> TextEncoder:
    """The encoder of a spec such as `hashing:512` or `openclip:ViT-B-32@openai`.

    Raises:
        LookupError: no such encoder.
        ValueError: a device that this machine does not have; found before anything is loaded.
        OSError: its weights cannot be had.
    """
    if device != "cpu":
        from pipeline.runs.devices import select_device

        device = str(select_device(device))
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    name, _, argument = spec.partition(":")
    if name not in names("knowledge.encoders"):
        raise LookupError(unknown("encoder", name, names("knowledge.encoders")))
    hub = use_hub(name, argument)
    kind = load_choice("knowledge.encoders", name, TextEncoder)
    try:
        return kind.from_argument(argument, device)
    except OSError as fault:
        if not hub:
            raise
        raise OSError(f"{fault}; {WITHOUT}") from None


def line(bank: Bank) -> str:
    """A bank in one line."""
    classes, _, width = bank.vectors.shape
    encoder = f"{bank.encoder} ({bank.control})" if bank.control else bank.encoder
    limit = "no limit" if bank.token_limit is None else f"limit {bank.token_limit}"
    return (
        f"{classes} classes, aspects {', '.join(bank.aspects)}, width {width}, "
        f"encoder {encoder}, at most {bank.token_counts.max()} tokens ({limit})"
    )
