"""Text towers of OpenCLIP: built-in architectures, hub repositories, local folders and files."""

import logging
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import open_clip
import torch

from knowledge.encoders.base.encoder import TextEncoder, Vectors, in_batches
from knowledge.encoders.base.weights import digest_of_weights


class OpenCLIP(TextEncoder):
    """`openclip:<model>@<pretrained tag or weights file>`, e.g. `openclip:ViT-B-32@openai`.

    `openclip:hf-hub:<repository>` (BiomedCLIP: `hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-
    vit_base_patch16_224`) and `openclip:local-dir:<folder>` carry their weights and take no `@`.
    Vectors are the tower's projected output, not normalized.
    """

    name: ClassVar[str] = "openclip"

    def __init__(self, model: str, pretrained: str | None = None, *, device: str = "cpu") -> None:
        carried = model.startswith(("hf-hub:", "local-dir:"))
        if not carried and not pretrained:
            raise ValueError(
                f"openclip:{model}: which weights? Write openclip:{model}@<tag or file>; "
                f"tags: {', '.join(open_clip.list_pretrained_tags_by_model(model)) or 'none'}"
            )
        if not carried and model not in open_clip.list_models():
            raise LookupError(
                f"open_clip has no model {model!r}; there is {', '.join(open_clip.list_models())}"
            )
        self._model = _load(model, pretrained, device)
        self._tokenizer: Any = open_clip.get_tokenizer(model)
        self._device = device
        spec = f"openclip:{model}@{pretrained}" if pretrained else f"openclip:{model}"
        super().__init__(spec, int(self._tokenizer.context_length))

    @classmethod
    def from_argument(cls, argument: str, device: str) -> "OpenCLIP":
        """What follows `openclip:`."""
        model, _, pretrained = argument.partition("@")
        if not model:
            raise ValueError("openclip: names no model; for example openclip:ViT-B-32@openai")
        return cls(model, pretrained or None, device=device)

    def count_tokens(self, text: str) -> int:
        """Tokens with start and end marks, before any cut."""
        if isinstance(self._tokenizer, open_clip.SimpleTokenizer):
            return len(self._tokenizer.encode(text)) + 2
        cleaned = self._tokenizer.clean_fn(text)
        return len(self._tokenizer.tokenizer(cleaned)["input_ids"])

    def weights_digest(self) -> str:
        """The sha256 of the weights, by value."""
        return digest_of_weights(self._model)

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors float32 [text, width]."""
        parts = [
            self._model.encode_text(self._tokenizer(batch).to(self._device)).float().cpu().numpy()
            for batch in in_batches(texts, 64)
        ]
        return np.concatenate(parts).astype(np.float32)


def _load(model: str, pretrained: str | None, device: str) -> Any:
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)  # what goes wrong is logged and raised; once is enough
    try:
        loaded = open_clip.create_model(
            model, pretrained=pretrained, device=device, require_pretrained=True
        )
    except (OSError, RuntimeError) as error:
        where = f"{model}@{pretrained}" if pretrained else model
        raise OSError(f"cannot load the weights of openclip:{where}: {error}") from error
    finally:
        logging.disable(before)
    return loaded.eval()
