"""Text towers of OpenCLIP: built-in architectures, hub repositories, local folders and files."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import open_clip
import torch
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from knowledge.common.suggest import did_you_mean
from knowledge.encoders.base import weights
from knowledge.encoders.base.encoder import FINGERPRINT_SENTENCES, TextEncoder, Vectors, in_batches
from knowledge.encoders.base.vocabulary import require_known_tokens

_HUB = "hf-hub:"
_FOLDER = "local-dir:"


class OpenCLIP(TextEncoder):
    """`openclip:<model>@<pretrained tag or weights file>`, e.g. `openclip:ViT-B-32@openai`.

    `openclip:hf-hub:<repository>` (BiomedCLIP: `hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-
    vit_base_patch16_224`) and `openclip:local-dir:<folder>` carry their weights and take no `@`.
    Vectors are the tower's projected output, not normalized.
    """

    name: ClassVar[str] = "openclip"
    forms: ClassVar[tuple[str, ...]] = ("openclip:local-dir:FOLDER", "openclip:MODEL@FILE")
    hub_forms: ClassVar[tuple[str, ...]] = ("openclip:MODEL@TAG", "openclip:hf-hub:OWNER/NAME")
    example: ClassVar[str] = "openclip:local-dir:{folder}"

    def __init__(self, model: str, pretrained: str | None = None, *, device: str = "cpu") -> None:
        spec = f"openclip:{model}@{pretrained}" if pretrained else f"openclip:{model}"
        for path in (Path(model.removeprefix(_FOLDER)), Path(pretrained or ".")):
            if path.is_file() or (model.startswith(_FOLDER) and path.is_dir()):
                weights.require_sound_files(path)
        with weights.load_errors(spec), _quiet():
            self._model = open_clip.create_model(
                model, pretrained=pretrained, device=device, require_pretrained=True
            ).eval()
            self._tokenizer: Any = open_clip.get_tokenizer(model)
        self._device = device
        super().__init__(spec, int(self._tokenizer.context_length))
        self._require_known(FINGERPRINT_SENTENCES)

    @classmethod
    def from_argument(cls, argument: str, device: str) -> "OpenCLIP":
        """The argument of the spec, after `openclip:`."""
        return cls(*_parse(argument), device=device)

    @classmethod
    def hub_repository(cls, argument: str) -> str | None:
        """The repository of `hf-hub:`, or the one that a pretrained tag is stored in."""
        model, pretrained = _parse(argument)
        if model.startswith(_HUB):
            return model.removeprefix(_HUB)
        if pretrained is None or Path(pretrained).is_file():
            return None
        tags = open_clip.list_pretrained_tags_by_model(model)
        if pretrained not in tags:
            raise FileNotFoundError(
                f"openclip:{argument}: {pretrained} is neither a file nor a tag of the model; "
                f"tags: {', '.join(tags) or 'none'}"
            )
        return str(open_clip.get_pretrained_cfg(model, pretrained).get("hf_hub", "")).strip("/")

    def count_tokens(self, text: str) -> int:
        """Tokens with start and end marks, before any cut."""
        if isinstance(self._tokenizer, open_clip.SimpleTokenizer):
            return len(self._tokenizer.encode(text)) + 2
        clean = getattr(self._tokenizer, "clean_fn", str)
        return len(self._tokenizer.tokenizer(clean(text))["input_ids"])

    def weights_digest(self) -> str:
        """The sha256 of the weights, by value."""
        return weights.digest_of_weights(self._model)

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors float32 [text, width]."""
        if not texts:
            return self.encode(["a"])[:0]
        self._require_known(texts)
        parts = [
            self._model.encode_text(self._tokenizer(batch).to(self._device)).float().cpu().numpy()
            for batch in in_batches(texts, 64)
        ]
        return np.concatenate(parts).astype(np.float32)

    def _require_known(self, texts: Sequence[str]) -> None:
        # OpenCLIP's own tokenizer splits into bytes: nothing is unknown to it.
        if not isinstance(self._tokenizer, open_clip.SimpleTokenizer):
            clean = getattr(self._tokenizer, "clean_fn", str)
            cleaned = [clean(text) for text in texts]
            require_known_tokens(
                self._tokenizer.tokenizer, cleaned, self.spec, _embeddings(self._model)
            )


def _embeddings(model: Any) -> int | None:
    """Number of token embeddings of a text tower: OpenCLIP's own, or one of transformers."""
    text = getattr(model, "text", model)
    if hasattr(text, "vocab_size"):
        return int(text.vocab_size)
    tower = getattr(text, "transformer", None)
    if tower is not None and hasattr(tower, "get_input_embeddings"):
        return int(tower.get_input_embeddings().num_embeddings)
    return None


def _parse(argument: str) -> tuple[str, str | None]:
    """Model and weights of `MODEL@WEIGHTS`, `hf-hub:OWNER/NAME` or `local-dir:FOLDER`.

    Raises:
        ValueError: malformed, or a built-in architecture without weights.
        LookupError: an unknown architecture.
        FileNotFoundError: no such folder.
    """
    if argument.startswith(_FOLDER):
        folder = argument.removeprefix(_FOLDER)
        if not folder or not Path(folder).is_dir():
            raise FileNotFoundError(f"openclip:{argument}: there is no folder {folder!r}")
        return argument, None
    if argument.startswith(_HUB):
        repository = argument.removeprefix(_HUB)
        try:
            validate_repo_id(repository)
        except HFValidationError as error:
            raise ValueError(
                f"openclip:{argument}: expected openclip:hf-hub:OWNER/NAME, got {repository!r}"
            ) from error
        return argument, None
    model, _, pretrained = argument.partition("@")
    if not model:
        raise ValueError("openclip: names no model; for example openclip:ViT-B-32@openai")
    known = open_clip.list_models()
    if model not in known:
        raise LookupError(
            f"open_clip has no model {model!r}; there is {', '.join(known)}"
            f"{did_you_mean(model, known)}"
        )
    if not pretrained:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
        raise ValueError(
            f"openclip:{model}: which weights? Write openclip:{model}@<tag or file>; tags: {tags}"
        )
    return model, pretrained


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what open_clip logs before it raises the same."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
