"""OpenCLIP towers, against OpenCLIP itself."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.small_encoders import openclip, tokenizer


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
    with pytest.raises(OSError, match="cannot load openclip:ViT-B-32@"):
        OpenCLIP.from_argument(f"ViT-B-32@{tmp_path / 'nowhere.pt'}", "cpu")


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    import open_clip

    from knowledge.encoders.openclip import OpenCLIP

    folder = openclip(tmp_path / "clip")
    path = folder / "open_clip_config.json"
    content = json.loads(path.read_text())
    content["model_cfg"]["text_cfg"] |= {"hf_tokenizer_name": "its own"}
    tokenizer().save_pretrained(folder)
    path.write_text(json.dumps(content))
    encoder = OpenCLIP.from_argument(f"local-dir:{folder}", "cpu")
    assert encoder.encode(["The liver is large."]).shape == (1, 6)  # 30,522 of 49,408 tokens
    content["model_cfg"]["text_cfg"]["vocab_size"] = 1000
    parts = {key: value for key, value in content["model_cfg"].items() if key != "text_cfg"}
    text = content["model_cfg"]["text_cfg"] | {"hf_tokenizer_name": None}
    model = open_clip.CLIP(**parts, text_cfg=text)
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="the model has 1000 token embeddings"):
        OpenCLIP.from_argument(f"local-dir:{folder}", "cpu").encode(["The liver is large."])
