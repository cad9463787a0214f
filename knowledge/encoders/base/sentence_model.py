"""Models of sentence-transformers: loaded with all their modules, or pooled as the user says."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers.sentence_transformer.modules import Transformer as TokenStates
from torch import nn

# Names of poolings in specs, and in sentence-transformers.
POOLINGS = {"mean": "mean", "cls": "cls", "max": "max", "last": "lasttoken"}
# A model that pools and normalizes. Its vectors are taken before `Normalize`, as banks always did:
# vectors keep their length, and banks of earlier versions stay comparable.
_PLAIN = ["Transformer", "Pooling", "Normalize"]
# Weights that no text passes on its way to a vector: they may be missing from a file.
_UNUSED = ("pooler.",)
# Stands for "no limit" in tokenizer configurations.
_ABSURD_LIMIT = 1_000_000
# Half precision is slow or missing on CPUs, and its rounding would enter the bank.
_OPTIONS = {"dtype": torch.float32}


def load_saved(place: str, device: str) -> SentenceTransformer:
    """A model folder or hub repository with `modules.json`, all modules and prompts in use.

    Raises:
        ValueError: it was saved by another kind of model, or a module would not run as saved.
    """
    with _quiet() as ignored:
        model = SentenceTransformer(place, device=device, model_kwargs=dict(_OPTIONS))
    if ignored:
        raise ValueError(ignored[0])
    if module_names(model) == _PLAIN:
        model.pop(-1)
    return model.eval()


def load_pooled(place: str, pooling: str | None, device: str) -> SentenceTransformer:
    """A bare transformers model with a pooling, or with the one of its `1_Pooling/config.json`."""
    with _quiet():
        words = TokenStates(place, model_kwargs=dict(_OPTIONS))
        mode: Any = POOLINGS.get(pooling or "")
        if mode is None:
            mode = Pooling.load_config(place, subfolder="1_Pooling")["pooling_mode"]
        pool = Pooling(words.get_embedding_dimension(), mode)
    return SentenceTransformer(modules=[words, pool], device=device).eval()


def module_names(model: SentenceTransformer) -> list[str]:
    """The classes of a model's modules, in the order that a text passes them."""
    return [type(module).__name__ for module in model]


def pooling_of(model: SentenceTransformer) -> str:
    """The pooling by its name in specs; "own" for anything else."""
    pools = [module for module in model if isinstance(module, Pooling)]
    names = {mode: name for name, mode in POOLINGS.items()}
    return names.get(str(pools[0].pooling_mode), "own") if len(pools) == 1 else "own"


def set_pooling(model: SentenceTransformer, pooling: str, spec: str) -> None:
    """Replace the pooling of a model whose output are the pooled states.

    Raises:
        ValueError: further modules expect the pooling that they were trained with.
    """
    names = module_names(model)
    if names != ["Transformer", "Pooling"]:
        raise ValueError(f"{spec}: the model has modules {', '.join(names)}; omit @{pooling}")
    pool: Any = model[1]
    model[1] = Pooling(pool.embedding_dimension, POOLINGS[pooling])


def require_text_model(model: SentenceTransformer, spec: str) -> None:
    """Prepare the tokenizer of a GPT-like model; refuse what reads or pads no text.

    Raises:
        ValueError: an encoder-decoder without a known encoder, or a tokenizer without padding.
    """
    config = getattr(model[0], "config", None)
    network = getattr(model[0], "model", None)
    if getattr(config, "is_encoder_decoder", False) and hasattr(network, "decoder"):
        raise ValueError(
            f"{spec} is an encoder-decoder ({config.model_type}), whose token states are its "  # type: ignore[union-attr]
            "decoder's; take a model that encodes texts (BERT-like, T5, GPT-like)"
        )
    tokenizer: Any = getattr(model[0], "tokenizer", None)
    if getattr(tokenizer, "pad_token", "") is None:
        if tokenizer.eos_token is None:
            raise ValueError(f"{spec}: the tokenizer has no padding and no end token to pad with")
        tokenizer.pad_token = tokenizer.eos_token


def unset_weights(model: SentenceTransformer, place: str, subfolder: str) -> set[str]:
    """Names of parameters that no file sets, though no text passes them (poolers).

    sentence-transformers does not report them, so the network is loaded again with that report;
    the first copy is dropped before, to hold one at a time.

    Raises:
        OSError: a weight that texts pass is not set either, and would be random.
    """
    words: Any = model[0]
    if not hasattr(getattr(words, "model", None), "from_pretrained"):
        return set()
    kind, config, device = type(words.model), words.model.config, model.device
    words.model = None
    with _quiet():
        network, report = kind.from_pretrained(
            place, subfolder=subfolder, config=config, output_loading_info=True, **_OPTIONS
        )
    words.model = network.to(device).eval()
    unset = set(report["missing_keys"]) | {name for name, *_ in report["mismatched_keys"]}
    require_set(unset, _UNUSED)
    return {f"0.model.{name}" for name in unset}


def require_set(unset: set[str], unused: tuple[str, ...]) -> None:
    """Refuse weights that no file sets, those with an unused prefix aside.

    Raises:
        OSError: names some of them.
    """
    random = sorted(name for name in unset if not name.startswith(unused))
    if random:
        more = f" and {len(random) - 3} more" if len(random) > 3 else ""
        raise OSError(
            f"its files do not set {', '.join(random[:3])}{more}, so that these weights would be "
            "random; download the model again, or take another"
        )


def token_limit(model: SentenceTransformer, spec: str) -> int | None:
    """The most tokens of a text; None for a model without positions (static word vectors).

    Raises:
        ValueError: a transformer that does not say.
    """
    if not isinstance(model[0], TokenStates):
        return known_limit([model.max_seq_length])
    config: Any = model[0].config
    limits = [model.max_seq_length, getattr(config, "max_position_embeddings", None)]
    limit = known_limit([*limits, *usable_positions(model)])
    if limit is None:
        raise ValueError(f"{spec} does not say how many tokens it reads")
    return limit


def known_limit(limits: list[Any]) -> int | None:
    """The smallest of several token limits; None if none of them is a limit."""
    known = [int(limit) for limit in limits if limit and 0 < limit < _ABSURD_LIMIT]
    return min(known) if known else None


def usable_positions(model: nn.Module) -> list[int]:
    """The number of token positions after the padding offset (RoBERTa, MPNet)."""
    return [
        module.num_embeddings - module.padding_idx - 1
        for name, module in model.named_modules()
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None
    ]


@contextmanager
def _quiet() -> Iterator[list[str]]:
    """Hold back load reports; yields the warnings of modules that would not run as saved."""
    ignored: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            ignored.append(record.getMessage())

    handler = Collect(logging.WARNING)
    dense = logging.getLogger("sentence_transformers.base.modules.dense")
    loggers = [logging.getLogger(name) for name in ("transformers", "sentence_transformers")]
    levels = [logger.level for logger in loggers]
    dense.addHandler(handler)
    dense.setLevel(logging.WARNING)  # kept open while its parent is silenced
    propagate, dense.propagate = dense.propagate, False
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield ignored
    finally:
        dense.removeHandler(handler)
        dense.propagate = propagate
        dense.setLevel(logging.NOTSET)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
