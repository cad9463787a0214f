"""Texts that a tokenizer does not know."""

import pytest

from knowledge.encoders.base.vocabulary import require_known_tokens


class Words:
    """A tokenizer of whole words: token 0 stands for unknown ones."""

    unk_token_id = 0
    known = ("the", "tube", "is", "long")

    def __call__(self, text: str, **options: object) -> dict[str, list[int]]:
        places = {word: place for place, word in enumerate(self.known, start=1)}
        return {"input_ids": [places.get(word, 0) for word in text.split()]}


def test_a_few_unknown_words_pass_and_many_do_not() -> None:
    require_known_tokens(Words(), ["the tube is long", "the tube is long long wide", ""], "x")
    with pytest.raises(ValueError, match="does not know 2 of 4 tokens of 'the blue tube wide'"):
        require_known_tokens(Words(), ["the tube", "the blue tube wide"], "x")


def test_a_token_beyond_the_embeddings_is_of_another_model() -> None:
    with pytest.raises(ValueError, match="gives token 4, but the model has 4 token embeddings"):
        require_known_tokens(Words(), ["the tube is long"], "x", rows=4)
