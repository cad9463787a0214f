"""`tak train --init-from`: from a run, a bundle, published weights; other organs, other heads."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from pipeline.runs.starting.initialization import differences_from, initialize
from segmentation.networks.heads.conv import ConvHead
from segmentation.networks.network import Network
from segmentation.networks.vnet import VNet
from segmentation.training.checkpoint import load
from tests.support.command_line import TINY, tak
from tests.support.paths import ROOT
from tests.support.small_parts import make

SAVED = ROOT / "tests" / "support" / "saved"
CONV = ("head={name='conv'}", "alignment={name='none'}")


def words(*changes, method=("method={name='supervised'}",)):
    tiny = [change for change in TINY if not change.startswith("method.")]
    return [part for change in (*tiny, *method, *changes) for part in ("--set", change)]


@pytest.fixture(scope="module")
def run(prepared, tmp_path_factory):
    """A finished run with a convolutional head."""
    folder = tmp_path_factory.mktemp("source") / "run"
    tak("train", prepared.root, "--recipe", "demo", *words(*CONV), "-o", folder, "--device", "cpu")
    return folder


@pytest.fixture(scope="module")
def other(population, tmp_path_factory):
    """The same scans with three organs: two of before in other places, one under a new name."""
    folder = tmp_path_factory.mktemp("other")
    text = (population / "dataset.toml").read_text(encoding="utf-8")
    spec = folder / "three.toml"
    head, *organs = text.split("[[organs]]")
    named = {name: next(part for part in organs if f'name = "{name}"' in part)
             for name in ("liver", "spleen", "stomach")}  # fmt: skip
    renamed = named["stomach"].replace('name = "stomach"', 'name = "gut"')
    head = f'other_labels = "background"\n{head}'
    parts = [head, named["spleen"], named["liver"], renamed]
    spec.write_text("[[organs]]".join(parts), encoding="utf-8")
    tak("prepare", population, "-o", folder / "prepared", "--descriptor", spec,
        "--spacing", 16, 16, 16)  # fmt: skip
    return folder / "prepared"


def test_rows_of_the_head_go_by_organ_name(run, other, tmp_path):
    folder = tmp_path / "tuned"
    tiny = words(*CONV, "training.rate=1e-12", "training.steps=1",
                 "training.weight_decay=0", "training.warmup_steps=0")  # fmt: skip
    said = tak("train", other, "--recipe", "demo", *tiny, "-o", folder, "--init-from", run,
               "--device", "cpu").stdout  # fmt: skip
    assert "network.head" not in said
    assert "head.weight: 3 of 4 classes by name; new: gut" in said
    record = json.loads((folder / "run.json").read_text())["init_from"]
    assert record["rows"]["head.bias"] == ["background", "spleen", "liver"]
    assert record["left"] == {}
    before, now = load(run / "best.pt"), load(folder / "last.pt")
    old, new = before.identity.classes, now.identity.classes
    assert new == ("background", "spleen", "liver", "gut")
    for label in ("background", "spleen", "liver"):
        one = before.method["network.head.weight"][old.index(label)]
        assert torch.allclose(one, now.method["network.head.weight"][new.index(label)], atol=1e-9)
    assert torch.allclose(
        before.method["network.vnet.encoder.0.0.0.weight"],
        now.method["network.vnet.encoder.0.0.0.weight"],
        atol=1e-9,
    )


@pytest.mark.slow
def test_a_run_that_starts_from_another_one_starts_with_its_loss(prepared, run, tmp_path):
    """The first loss is that of the trained weights, far below that of random ones."""
    trained = tmp_path / "trained"
    more = ("training.steps=60", "training.rate=0.05", "training.validate_every=60")
    tak("train", prepared.root, "--recipe", "demo", *words(*CONV, *more), "-o", trained,
        "--device", "cpu")  # fmt: skip
    losses = {}
    for name, source in (("random", None), ("tuned", trained)):
        start = [] if source is None else ["--init-from", source / "last.pt"]
        tak("train", prepared.root, "--recipe", "demo", *words(*CONV), *start,
            "-o", tmp_path / name, "--device", "cpu")  # fmt: skip
        record = json.loads((tmp_path / name / "log.jsonl").read_text().splitlines()[1])
        losses[name] = record["loss"]
    assert losses["tuned"] < 0.95 * losses["random"], losses


def test_another_head_keeps_its_first_values_and_the_report_says_so(prepared, tmp_path):
    method = make("supervised")
    before = {name: value.clone() for name, value in method.state_dict().items()}
    record = initialize(method, SAVED / "bundle.zip", ("background", "a", "b", "c"))
    after = method.state_dict()
    assert set(record["left"]) >= {"head.weight", "head.bias"}
    assert torch.equal(after["network.head.weight"], before["network.head.weight"])
    for name in record["taken"]:
        assert not torch.equal(after[f"network.{name}"], before[f"network.{name}"]) or (
            before[f"network.{name}"].unique().numel() == 1
        ), name


def test_published_weights_are_taken_under_their_own_names(prepared, tmp_path):
    """A V-Net of five levels as UA-MT and others save it: names and shapes of their code."""
    names = [name for name, _ in _published()]
    assert "block_five_up.conv.0.weight" in names
    path = tmp_path / "published.pth"
    torch.save(dict(_published()), path)
    method = make_five_levels()
    record = initialize(method, path, ("background", "a", "b", "c"))
    assert len(record["taken"]) == len(names) - 2
    assert set(record["left"]) == {"head.weight", "head.bias"}
    assert float(method.state_dict()["network.vnet.up.3.0.weight"].mean()) == 0.5


def _published():
    levels, widths = ("one", "two", "three", "four", "five"), (4, 8, 16, 32, 64)
    shape = (3, 3, 3)
    counts = (1, 2, 3, 3, 3)
    for level, (word, width, count) in enumerate(zip(levels, widths, counts, strict=True)):
        inputs = 1 if level == 0 else width
        for place in range(count):
            first = inputs if place == 0 else width
            yield from _conv(f"block_{word}.conv.{3 * place}", (width, first, *shape))
    for level in range(4):
        low, high = widths[level], widths[level + 1]
        yield from _conv(f"block_{levels[level]}_dw.conv.0", (high, low, 2, 2, 2))
        up = ("eight", "seven", "six", "five")[level]
        yield from _conv(f"block_{up}_up.conv.0", (high, low, 2, 2, 2), low)
        down = ("nine", "eight", "seven", "six")[level]
        for place in range(counts[level]):
            yield from _conv(f"block_{down}.conv.{3 * place}", (low, low, *shape))
    yield from _conv("out_conv", (2, 4, 1, 1, 1))


def _conv(name, shape, outputs=None):
    yield f"{name}.weight", torch.full(shape, 0.5)
    yield f"{name}.bias", torch.full((outputs or shape[0],), 0.25)


def make_five_levels():
    from segmentation.methods.supervised import Supervised
    from tests.support.small_parts import context_of

    return Supervised(context_of(lambda: Network(VNet(width=4, levels=5), ConvHead(4, 4))))


def test_what_cannot_be_started_from_is_one_line(prepared, run, tmp_path):
    def fault(source, *more):
        return tak("train", prepared.root, "--recipe", "demo", *words(*CONV, *more), "-o",
                   tmp_path / "new", "--init-from", source, ok=False).stderr  # fmt: skip

    assert "there is no such file" in fault(tmp_path / "nowhere")
    wider = fault(run, "network.width=6")
    assert "no weight has a name and shape of this network" in wider
    assert wider.count("\n") == 1
    (tmp_path / "text.pth").write_text("no weights")
    assert "not a readable checkpoint" in fault(tmp_path / "text.pth")
    assert not (tmp_path / "new").exists()
    both = tak("train", "-o", run, "--resume", "--init-from", run, ok=False).stderr
    assert "--init-from cannot be combined with --resume" in both


def test_a_repetition_starts_from_the_same_weights_or_says_that_they_are_gone(
    prepared, run, tmp_path
):
    source = Path(shutil.copytree(run, tmp_path / "source"))
    folder = tmp_path / "tuned"
    tak("train", prepared.root, "--recipe", "demo", *words(*CONV), "-o", folder, "--init-from",
        source, "--device", "cpu")  # fmt: skip
    said = tak("rerun", folder, "-o", tmp_path / "again").stdout
    assert "\nthe same: " in said
    shutil.rmtree(source)
    gone = tak("rerun", folder, "-o", tmp_path / "third", ok=False).stderr
    assert "the weights that it started from are gone" in gone


def test_a_download_is_recorded_by_its_name_and_can_be_taken_again(tmp_path):
    """The cache of the hub holds links to files whose names are digests."""
    (tmp_path / "blob").write_bytes((SAVED / "bundle.zip").read_bytes())
    (tmp_path / "model.zip").symlink_to("blob")
    classes = ("background", "a", "b", "c")
    record = initialize(make("supervised"), tmp_path / "model.zip", classes)
    assert differences_from(record) is None
    again = initialize(make("supervised"), Path(record["source"]), classes)
    assert again == record
