"""Tokenizers whose vocabulary does not fit the texts or the model."""

from collections.abc import Iterable
from typing import Any

# Of a text's tokens, the share that may be unknown to the vocabulary.
UNKNOWN_LIMIT = 0.2


def require_known_tokens(
    tokenizer: Any, texts: Iterable[str], spec: str, rows: int | None = None
) -> None:
    """Refuse texts that a Hugging Face tokenizer does not know.

    A missing vocabulary file is no error to the library: every word becomes the unknown token, and
    all texts of one length get one vector. `rows` is the number of token embeddings of the model.

    Raises:
        ValueError: a text has no token, too many unknown ones, or one beyond the embeddings.
    """
    for text in texts:
        if not text.strip():
            continue
        ids = _tokens(tokenizer, text, spec)
        unknown = sum(each == tokenizer.unk_token_id for each in ids)
        if not ids or unknown > UNKNOWN_LIMIT * len(ids):
            share = f"{unknown} of {len(ids)} tokens of" if ids else "any token of"
            raise ValueError(
                f"{spec}: the vocabulary does not know {share} {text[:80]!r}; the text is in "
                "another language, or the tokenizer's files are missing or damaged"
            )
        if rows is not None:
            largest = max(
                *_tokens(tokenizer, text, spec, special=True), tokenizer.pad_token_id or 0
            )
            if largest >= rows:
                raise ValueError(
                    f"{spec}: the tokenizer gives token {largest}, but the model has {rows} token "
                    "embeddings; the tokenizer is of another model"
                )


def _tokens(tokenizer: Any, text: str, spec: str, *, special: bool = False) -> list[int]:
    try:
        return tokenizer(text, add_special_tokens=special, truncation=False, verbose=False)[
            "input_ids"
        ]
    except Exception as error:  # tokenizers raises bare exceptions on an empty vocabulary
        raise ValueError(
            f"{spec}: the tokenizer's files are missing or damaged: {error}"
        ) from error
