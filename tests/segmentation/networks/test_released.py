"""One TAK step beside the released code, from the same weights, patches and random choices.

The checkout is yours to bring (github.com/Lunn88/TAK-Semi, commit 8f175c5); nothing of it is kept:

    pytest -m slow tests/segmentation/networks/test_released.py --published DIR

The released script wants CUDA, real data and an option that does not exist. It is run here for one
step on the CPU, without gradients, on made-up volumes, and its local variables are read before it
would update. It takes some minutes.
"""

import argparse
import os
import re
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from segmentation.losses import GA
from segmentation.methods import magicnet
from segmentation.methods.base.method import Batch, MethodContext
from segmentation.methods.base.ramps import ramp
from segmentation.networks.alignments import contrast as source
from segmentation.networks.alignments.contrast import Contrast
from segmentation.networks.heads.text import TextHead
from segmentation.networks.network import Network
from segmentation.networks.released import convert_location_weights, convert_weights
from segmentation.networks.vnet import VNet

pytestmark = pytest.mark.slow
CLASSES, SIDE = 16, 104
SHARE = 1e-9  # of the run: past every start, before every ramp
COUNTS = [float(2**k) for k in reversed(range(CLASSES))]


class Captured(Exception):
    """Carries the local variables of the released step out of it."""


def stand_in(monkeypatch, name, **members):
    module = types.ModuleType(name)
    module.__dict__.update(members)
    monkeypatch.setitem(sys.modules, name, module)


def volumes(folder):
    """Two labeled and two unlabeled cases, in the layout that the released loader reads."""
    random = np.random.default_rng(0)
    (folder / "splits").mkdir(parents=True)
    names = [f"amos_{index:04d}" for index in range(4)]
    for part, cases in (
        ("labeled_2p", names[:2]), ("unlabeled_2p", names[2:]), ("eval", names[:1]),
        ("test", names[:1]),
    ):  # fmt: skip
        (folder / "splits" / f"{part}.txt").write_text("\n".join(cases) + "\n")
    for name in names:
        blocks = random.integers(0, CLASSES, (8, 8, 8))
        label = blocks.repeat(13, 0).repeat(13, 1).repeat(13, 2)[:SIDE, :SIDE, :SIDE]
        image = 25.0 * label - 100 + random.normal(scale=40, size=label.shape)
        np.save(folder / f"{name}_image.npy", image.astype("float32"))
        np.save(folder / f"{name}_label.npy", label.astype("int8"))


@pytest.fixture(scope="module")
def released(request, tmp_path_factory):
    """The local variables of one step of the released script, and its random choices."""
    checkout = request.config.getoption("--published")
    if checkout is None:
        pytest.skip("bring a checkout of the released code: --published DIR")
    folder = tmp_path_factory.mktemp("published")
    volumes(folder / "d")
    here, path = os.getcwd(), list(sys.path)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        prepare_process(patch)
        os.chdir(checkout)
        sys.path.insert(0, os.getcwd())
        try:
            yield captured(patch, folder)
        finally:
            os.chdir(here)
            sys.path[:] = path


def prepare_process(patch):
    """What the script needs beside itself: a CPU in place of CUDA, absent packages, T_dist."""

    class Silent:
        def __init__(self, *_, **__): ...
        def __getattr__(self, name):
            return lambda *_, **__: None

    class Steps:
        def __init__(self, steps):
            self.steps = steps

        def __call__(self, x):
            for step in self.steps:
                x = step(x)
            return x

    class Alone(torch.nn.Module):
        def __init__(self, module, **_):
            super().__init__()
            self.module = module

        def forward(self, *inputs):
            return self.module(*inputs)

    nothing = dict.fromkeys(
        ("metric", "compute_surface_distances", "compute_surface_dice_at_tolerance")
    )
    stand_in(patch, "tensorboardX", SummaryWriter=Silent)
    stand_in(patch, "torchvision", transforms=types.SimpleNamespace(Compose=Steps))
    stand_in(patch, "torchvision.transforms", Compose=Steps)
    for name in ("medpy", "medpy.metric", "surface_distance"):
        stand_in(patch, name, **nothing)
    stand_in(patch, "skimage", transform=None)
    stand_in(patch, "skimage.measure", label=None)
    load = torch.load
    patch.setattr(torch, "load", lambda *a, **k: load(*a, **{**k, "map_location": "cpu"}))
    patch.setattr(torch.Tensor, "cuda", lambda self, *_, **__: self)
    patch.setattr(torch.nn.Module, "cuda", lambda self, *_, **__: self)
    patch.setattr(torch.nn, "DataParallel", Alone)
    patch.setattr(torch.nn.parallel, "DataParallel", Alone)
    patch.setattr(argparse.Namespace, "T_dist", 1.0, raising=False)
    patch.setattr(torch, "randperm", lambda count, **_: torch.arange(count))


def captured(patch, folder):
    import utils.cube_utils as cubes

    begun = cubes.OrganClassLogger.__init__

    def counted(self, num_classes=14):
        begun(self, num_classes)
        self.class_dist_init = COUNTS

    patch.setattr(cubes.OrganClassLogger, "__init__", counted)
    draws = []
    uniform, normal = torch.rand, torch.randn_like
    patch.setattr(torch, "rand", lambda *a, **k: remember(draws, uniform(*a, **k)))
    patch.setattr(torch, "randn_like", lambda *a, **k: remember(draws, normal(*a, **k)))
    text = Path("train_AMOS_MagicNet_GA_TAK.py").read_text()
    text = text.replace("iter_num = 0", "iter_num = 119").replace("num_workers=8", "num_workers=0")
    text = re.sub(
        r"(?m)^(\s*)scaler\.scale\(loss\)\.backward\(\)", r"\1raise __out__(dict(locals()))", text
    )
    patch.setattr(
        sys, "argv",
        ["x", "--data_path", f"{folder}/d/", "--log_path", f"{folder}/log", "--label_num", "4",
         "--gpu", "0", "--start_contrast_epoch", "-1"],
    )  # fmt: skip
    scope = {"__name__": "__main__", "__out__": Captured, "__file__": "published.py"}
    with torch.no_grad(), pytest.raises(Captured) as out:
        exec(compile(text, "published", "exec"), scope)
    (variables,) = out.value.args
    return variables, draws


def remember(draws, value):
    draws.append(value)
    return value


@pytest.fixture(scope="module")
def terms(released):
    """The same step here, with every option set to the published behavior."""
    variables, draws = released
    noise = next(d for d in draws if d.shape == (2, 1, 96, 96, 96))
    order = next(d for d in draws if tuple(d.shape)[-3:] == (3, 3, 3))
    bank = variables["model"].module.text_embedding.float()
    vectors = bank.view(2, CLASSES, -1).transpose(0, 1).contiguous()

    def build():
        vnet = VNet()
        deep = vnet.widths[-3:]
        contrast = Contrast(deep, vectors.shape[2], own_deepest=False, start=0.0, weight=0.1)
        return Network(vnet, TextHead(16, deep, *vectors.shape[1:]), contrast, vectors)

    method = magicnet.MagicNet(
        MethodContext(build, GA(), 10_000, classes=CLASSES, patch=(96,) * 3), location_bias=False,
        cube_order="published", blend="mixed", blend_controller="cube", blend_start=0.0,
    )  # fmt: skip
    own, state = method.state_dict(), variables["model"].state_dict()
    state_of_teacher = variables["ema_model"].state_dict()
    own |= convert_weights(state, own) | convert_weights(state_of_teacher, own, "teacher.")
    own |= {k: v for k, v in convert_location_weights(state).items() if "running" not in k}
    own["organ_counts"] = torch.tensor(COUNTS)
    method.load_state_dict(own)
    method.train()
    image, label = variables["sampled_batch"]["image"], variables["sampled_batch"]["label"]
    batch = Batch(image[:2].float(), label[:2].long(), image[2:].float())
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        sources = order.reshape(4, 27).argsort(0)
        patch.setattr(magicnet, "draw_exchange", lambda *_: sources)
        noisy = batch.unlabeled + (0.1 * noise).clamp(-0.2, 0.2)
        patch.setattr(magicnet, "perturb", lambda *_, **__: noisy)
        first = torch.linspace(0, 0.5, 12 * 24**3, dtype=torch.float64)
        patch.setattr(source.torch, "rand", lambda shape, **_: first[: shape[0]])
        patch.setattr(method, "progress", lambda step: SHARE)
        found = method.losses(batch, 119)
    return {name: float(value) for name, value in found.items()}


@pytest.mark.parametrize(
    ("name", "factor", "there"),
    [
        ("cross_entropy", 4, "loss_seg"),
        ("dice", 4, "loss_seg_dice"),
        ("cross_dice", 4, "loss_unmix_dice"),
        ("within_dice", 4, "loss_lab_local_dice"),
        ("location", 10, "loc_loss"),
        ("contrast", 10, "loss_con"),
    ],
)
def test_a_term_is_the_released_one(terms, released, name, factor, there):
    assert factor * terms[name] == pytest.approx(float(released[0][there]), rel=1e-4)


def test_blended_labels_give_the_released_consistency(terms, released):
    own = terms["consistency"] / (0.1 * ramp(SHARE, 1.0))
    assert own == pytest.approx(float(released[0]["consistency_loss"]), rel=1e-4)
