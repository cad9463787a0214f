"""Methods, heads, encoders and providers outside the package: the examples of docs/extending.md."""

import json
import os
import re
import subprocess
import sys

import pytest

from pipeline.config.plugins import GROUPS, plugin_sources
from pipeline.config.registry import load_choice, names, states
from pipeline.experiments.cell_stages import stages_of
from pipeline.experiments.study import Study
from segmentation.methods.base.method import Method
from segmentation.networks.heads.base.head import Head
from tests.support.command_line import TINY, tak
from tests.support.paths import ROOT
from tests.support.tiny_study import write_study
from tests.test_docs import blocks

EXAMPLES = {
    "methods/pseudo_label.py": "class PseudoLabel",
    "heads/scaled.py": "class ScaledHead",
    "alignments/half.py": "class HalfContrast",
    "encoders/trigrams.py": "class Trigrams",
    "providers/echo.py": "class Echo",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the plugins of the docs, named by the environment."""
    code = [block.code for block in blocks(ROOT / "docs" / "extending.md")]
    for name, mark in EXAMPLES.items():
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True)
        path.write_text(next(text for text in code if mark in text), encoding="utf-8")
    monkeypatch.setenv("TAK_PLUGINS", str(tmp_path / "mine"))
    return tmp_path / "mine"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package with a head under another name than its module's."""
    (tmp_path / "site" / "own_heads").mkdir(parents=True)
    (tmp_path / "site" / "own_heads" / "__init__.py").write_text("")
    code = [block.code for block in blocks(ROOT / "docs" / "extending.md")]
    text = next(text for text in code if EXAMPLES["heads/scaled.py"] in text)
    (tmp_path / "site" / "own_heads" / "tempered.py").write_text(text, encoding="utf-8")
    facts = tmp_path / "site" / "own_heads-1.2.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: own-heads\nVersion: 1.2\n")
    (facts / "entry_points.txt").write_text("[tak_seg.heads]\nwarm = own_heads.tempered\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}{os.pathsep}{ROOT}")
    return tmp_path / "site"


def test_plugins_are_choices_beside_the_shipped_ones(folder):
    for package, group in GROUPS.items():
        (name,) = [path.stem for path in (folder / group).glob("*.py")]
        assert name in names(package)
        assert "_" not in {module[0] for module in names(package)}
    kind = load_choice("segmentation.methods", "pseudo-label", Method)
    assert kind.__name__ == "PseudoLabel"
    assert load_choice("segmentation.methods", "pseudo_label", Method) is kind, "imported once"
    assert not states("segmentation.networks.heads", "scaled", "reads_text")
    listed = json.loads(tak("info", "pseudo_label", "--json").stdout)["entries"]
    assert [entry["origin"] for entry in listed] == [f"folder {folder}"]
    assert "threshold" in tak("info", "pseudo_label").stdout


def test_a_run_with_a_plugin_is_trained_resumed_and_evaluated(folder, prepared, tmp_path):
    run = tmp_path / "run"
    tables = ("method={name='pseudo_label', threshold=0.1}", "head={name='scaled'}")
    words = [word for word in TINY if not word.startswith("method.")]
    words += [*tables, "alignment={name='none'}"]
    changes = [part for word in words for part in ("--set", word)]
    tak("train", prepared.root, "--recipe", "demo", *changes, "-o", run, "--device", "cpu")
    session = json.loads((run / "run.json").read_text())["sessions"][0]
    assert set(session["plugins"]) == {"methods/pseudo_label", "heads/scaled"}

    path = folder / "methods" / "pseudo_label.py"
    path.write_text(path.read_text() + "\n# A changed line.\n")
    again = tak("train", "-o", run, "--resume", "--device", "cpu")
    assert "warning: the code of methods/pseudo_label has changed" in again.stderr
    tak("evaluate", run, prepared.root, "--device", "cpu")

    os.environ.pop("TAK_PLUGINS")
    fault = tak("evaluate", run, prepared.root, "-o", tmp_path / "other", ok=False).stderr
    assert "no method 'pseudo_label'" in fault
    assert "--plugins" in fault


def test_texts_are_asked_and_encoded_by_plugins(folder, tmp_path):
    texts, bank = tmp_path / "texts.json", tmp_path / "bank.h5"
    tak("describe", "phantom", "--provider", "echo", "-o", texts)
    tak("encode", texts, "--encoder", "trigrams:16", "-o", bank)
    assert "trigrams:16" in tak("bank", "inspect", bank).stdout


def test_changed_code_changes_the_keys_of_its_stages_alone(folder, tmp_path):
    def keys(method):
        arm = f'[[arms]]\nname = "own"\nmethod = "{method}"\nencoder = "trigrams:16"\n'
        study = Study.read(write_study(tmp_path, tail=arm, fixed='[fixed]\nrecipe = "demo"\n'))
        (stages,) = [stages_of(study, cell) for cell in study.cells]
        return stages.train.key, stages.bank.key, stages.describe.key

    def change(name):
        path = folder / name
        path.write_text(path.read_text() + "\nMORE = 1\n")

    own, shipped = keys("pseudo_label"), keys("ua_mt")
    change("methods/pseudo_label.py")
    assert keys("pseudo_label") == (keys("pseudo_label")[0], *own[1:])
    assert keys("pseudo_label")[0] != own[0]
    assert keys("ua_mt") == shipped
    change("encoders/trigrams.py")
    assert keys("ua_mt")[1] != shipped[1]
    assert keys("ua_mt")[2] == shipped[2]


def test_an_installed_package_gives_choices_by_its_entry_points(package):
    """In a process of its own: the installed distributions are read once per process."""
    code = (
        "from pipeline.config.registry import load_choice, states, source_of\n"
        "from segmentation.networks.heads.base.head import Head\n"
        "heads = 'segmentation.networks.heads'\n"
        "kind, source = load_choice(heads, 'warm', Head), source_of(heads, 'warm')\n"
        "print(kind.__module__, '|', source.origin, '|', len(source.digest()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "own_heads.tempered | package own-heads 1.2 | 64", done.stderr


def test_two_choices_of_one_name_are_refused_with_their_origins(folder):
    (folder / "heads" / "conv.py").write_text((folder / "heads" / "scaled.py").read_text())
    with pytest.raises(ValueError, match=f"'conv' .* tak-seg itself and folder {folder}: rename"):
        load_choice("segmentation.networks.heads", "conv", Head)


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("def (:\n", r"SyntaxError: invalid syntax \(broken.py, line 1\)"),
        ("import no_such_module\n", r"ModuleNotFoundError: .* at .*broken.py:1"),
        ("x = 1\ny = 1 / 0\n", r"ZeroDivisionError: .* at .*broken.py:2"),
        ("", "expected one subclass of Method, got 0"),
    ],
)
def test_code_that_cannot_be_imported_is_one_line_with_its_place(folder, code, fault):
    path = folder / "methods" / "broken.py"
    path.write_text(code)
    with pytest.raises(ValueError, match=f"^{path}.*{fault}"):
        load_choice("segmentation.methods", "broken", Method)
    assert "Traceback" not in tak("recipe", "demo").stderr, "nobody asks for it"


def test_a_folder_without_plugins_is_said_at_once(tmp_path, monkeypatch):
    for place, fault in (
        (tmp_path / "nowhere", "there is no such folder"),
        (tmp_path, "got none of them"),
    ):
        monkeypatch.setenv("TAK_PLUGINS", str(place))
        assert plugin_sources("segmentation.methods") == []
        assert fault in tak("info", "dca", ok=False).stderr


@pytest.mark.slow
def test_the_contract_tests_run_on_plugins(folder):
    chosen = " or ".join(f"every_{kind}" for kind in ("method", "head", "alignment", "encoder"))
    mine = " or ".join(name.partition("/")[2][:-3] for name in EXAMPLES)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests", "-p", "no:cacheprovider",
         "-k", f"({chosen} or every_provider) and ({mine})"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 40
