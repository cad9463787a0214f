"""`tak encode`: what its help says to type."""

import pytest

from pipeline.commands.encode import encode
from pipeline.texts.encoders import make_encoder


@pytest.mark.parametrize("model", ["EmbeddingGemma", "Qwen3-Embedding", "SigLIP", "BiomedCLIP"])
def test_help_says_what_to_type_for_known_models(model: str, monkeypatch) -> None:
    from knowledge.encoders.base import hub

    (line,) = [line for line in (encode.__doc__ or "").splitlines() if f"- {model}:" in line]
    spec = line.partition(": ")[2]
    asked = []

    def offline(repository: str) -> None:
        asked.append(repository)
        raise OSError("offline")

    monkeypatch.setattr(hub, "use_hub", offline)
    with pytest.raises(OSError, match="offline"):
        make_encoder(spec)
    assert asked[0] in spec
