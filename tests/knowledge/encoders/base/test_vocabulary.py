"""Texts that a tokenizer does not know."""

import pytest

from knowledge.encoders.base.vocabulary import require_known_tokens


class Words:
    """A tokenizer of whole words: token 0 stands for unknown ones."""

    unk_token_id = 0
    pad_token_id = None
    start = None
    known = ("the", "tube", "is", "long")

    def __call__(self, text: str, **options: object) -> dict[str, list[int]]:
        places = {word: place for place, word in enumerate(self.known, start=1)}
        start = [self.start] if self.start and options["add_special_tokens"] else []
        return {"input_ids": start + [places.get(word, 0) for word in text.split()]}


def test_a_few_unknown_words_pass_and_many_do_not() -> None:
    require_known_tokens(Words(), ["the tube is long", "the tube is long long wide", ""], "x")
    with pytest.raises(ValueError, match="does not know 2 of 4 tokens of 'the blue tube wide'"):
        require_known_tokens(Words(), ["the tube", "the blue tube wide"], "x")


def test_a_token_beyond_the_embeddings_is_of_another_model() -> None:
    with pytest.raises(ValueError, match="gives token 4, but the model has 4 token embeddings"):
        require_known_tokens(Words(), ["the tube is long"], "x", rows=4)


@pytest.mark.parametrize("special", ["start", "pad_token_id"])
def test_a_special_token_beyond_the_embeddings_is_of_another_model(special: str) -> None:
    words = Words()
    require_known_tokens(words, ["the tube is long"], "x", rows=5)
    setattr(words, special, 7)
    with pytest.raises(ValueError, match="gives token 7, but the model has 5 token embeddings"):
        require_known_tokens(words, ["the tube is long"], "x", rows=5)
