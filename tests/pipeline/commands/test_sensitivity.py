"""`tak sensitivity`: the same figures in table, JSON and file."""

import json

from tests.support.command_line import changed


def test_the_command_writes_what_it_shows(tak, run, prepared, bank, tmp_path):
    code, out, err = tak(
        "sensitivity", run, prepared.root, "--bank", bank, "-o", tmp_path / "s.json", "--json"
    )
    assert code == 0, err
    content = json.loads(out)
    assert set(content) == {"exchanged", "mean", "random", "bank.h5"}
    assert content["bank.h5"]["changed"] == 0
    assert "voxels changed" in err
    assert json.loads((tmp_path / "s.json").read_text()) == content


def test_a_run_without_text_has_nothing_to_exchange(tak, prepared, tmp_path):
    plain = ("--set", 'head={name="conv"}', "--set", 'alignment={name="none"}')
    code, _, err = tak(
        "train", prepared.root, "--recipe", "demo", "-o", tmp_path / "run", *changed(), *plain
    )
    assert code == 0, err
    code, _, err = tak("sensitivity", tmp_path / "run", prepared.root)
    assert code == 1
    assert "has no text vectors: nothing to exchange" in err
