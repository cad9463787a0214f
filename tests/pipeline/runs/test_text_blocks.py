"""A run whose features read the text, with a convolution as head and without alignment."""

import torch

from segmentation.training.checkpoint import load
from tests.support.command_line import changed, tak

CHANGES = ("head.name=conv", 'alignment={name="none"}', "text.block_levels=2")


def test_blocks_need_a_bank_learn_and_predict(prepared, bank, tmp_path):
    words = ["train", prepared.root, "--recipe", "demo", *changed(*CHANGES), "-o"]
    assert "give --bank FILE" in tak(*words, tmp_path / "none", ok=False).stderr
    tak(*words, tmp_path / "run", "--bank", bank)
    state = load(tmp_path / "run" / "last.pt").method
    first = {name: value for name, value in state.items() if "text_blocks.0.code.weight" in name}
    assert {name.partition(".")[0] for name in first} == {"network", "teacher"}
    assert all(torch.isfinite(value).all() for value in first.values())
    tak("evaluate", tmp_path / "run", prepared.root, "-o", tmp_path / "scores")
    assert (tmp_path / "scores" / "evaluation-test.json").is_file()
    refused = tak(*words, tmp_path / "more", "--set", "text.block_levels=4", ok=False).stderr
    assert "text.block_levels = 4 does not fit network.levels = 3" in refused
