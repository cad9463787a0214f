"""Small networks, batches and slow, obvious versions of formulas for the tests of methods."""

import math
import sys
from typing import Any

import torch

from pipeline.config.registry import load_choice
from segmentation.losses import DiceCE
from segmentation.methods.base.method import Batch, Method, MethodContext
from segmentation.networks.alignments.contrast import Contrast
from segmentation.networks.heads.conv import ConvHead
from segmentation.networks.heads.text import TextHead
from segmentation.networks.network import Network
from segmentation.networks.vnet import VNet

CLASSES, SIDE, STEPS = 4, 16, 100
LATE = 90  # of 100 steps: every term takes part
VOXELS = (40_000, 900, 250, 30)
# Options with which a method runs on patches of 16 voxels, or has a positive loss on untrained
# networks (a confidence threshold, for example). A new method is tested with its defaults first;
# where these do not fit, `make_tiny` and `test_every_term_teaches` say to add it here.
TINY_OPTIONS: dict[str, dict[str, Any]] = {
    "magicnet": {"cube": 8, "location_hidden": 16},
    "depl": {"threshold": 0.3},
    "ua_mt": {"passes": 2, "entropy_ramp": 0},
    "adsh": {"refresh_steps": 3},
    "cld": {"gather_steps": 3},
    "acisis": {"gather_steps": 3},
    "dst": {"threshold": 0.3},
    "a_d": {"samples": 2},
    "dycon": {"purity": 0.2},
}


def builder(text=False, norm="instance", dropout=0.0):
    def build():
        vnet = VNet(width=4, levels=3, norm=norm, dropout=dropout)
        if not text:
            return Network(vnet, ConvHead(4, CLASSES))
        vectors = 3 * torch.randn(CLASSES, 2, 6)
        contrast = Contrast(vnet.widths, 6, own_deepest=False, samples=(4, 3, 2))
        return Network(vnet, TextHead(4, vnet.widths, 2, 6), contrast, vectors)

    return build


def context_of(build, loss=None, *, warmup_steps=0, **changes):
    """A method's context, of the sizes of these tests."""
    sizes = {"classes": CLASSES, "patch": (SIDE,) * 3, "voxels": VOXELS, **changes}
    return MethodContext(build, loss or DiceCE(), STEPS, warmup_steps=warmup_steps, **sizes)


def make(
    name,
    loss=None,
    *,
    seed=0,
    text=False,
    norm="instance",
    dropout=0.0,
    warmup_steps=0,
    claims=None,
    **options,
):
    """A method of that name with its default options, the same for the same seed.

    `claims` are further fields of the context: `relations`, `claim_filter`.
    """
    kind = load_choice("segmentation.methods", name, Method)
    torch.manual_seed(seed)
    build = builder(text, norm, dropout)
    return kind(context_of(build, loss, warmup_steps=warmup_steps, **(claims or {})), **options)


def make_tiny(name, loss=None, **options):
    """A method of that name with options that suit patches and networks of this size."""
    try:
        return make(name, loss, **tiny_options(name), **options)
    except ValueError as fault:
        raise ValueError(f"{fault}. {hint(name)}") from fault


def tiny_options(name):
    """Options of a method for these tests; a plugin's module gives its own TINY_OPTIONS."""
    module = sys.modules[load_choice("segmentation.methods", name, Method).__module__]
    return TINY_OPTIONS.get(name) or getattr(module, "TINY_OPTIONS", {})


def hint(name):
    """Advice for a new method whose default options do not suit the tests."""
    return (
        f"If that is only a matter of size ({SIDE}^3 patches, an untrained network), give "
        f"options that suit it to TINY_OPTIONS[{name!r}] in tests/support/small_parts.py, or in a "
        "plugin to a dict TINY_OPTIONS of its module"
    )


def batch(seed=0, classes=range(CLASSES)):
    """Two labeled and two unlabeled patches whose labels are drawn from some classes."""
    g = torch.Generator().manual_seed(seed)
    shape = (2, SIDE, SIDE, SIDE)
    kinds = torch.tensor(list(classes))
    return Batch(
        image=torch.rand(shape, generator=g)[:, None],
        label=kinds[torch.randint(0, len(kinds), shape, generator=g)],
        unlabeled=torch.rand(shape, generator=g)[:, None],
    )


@torch.no_grad()
def logits_of(method, patches):
    """The logits [4, C, ...] of both networks of a co-training method."""
    images = torch.cat([patches.image, patches.unlabeled])
    return [network(images).logits for network in method.networks]


def train(method, steps, first=0, rate=0.05):
    """Plain SGD over a few steps; the terms of the last one."""
    weights = [weight for weight in method.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=rate)
    terms = {}
    for step in range(first, first + steps):
        optimizer.zero_grad()
        terms = method(batch(step), step)
        sum(terms.values()).backward()
        optimizer.step()
        method.after_step(step)
    return {name: float(term.detach()) for name, term in terms.items()}


def rows(logits):
    """[B, C, ...] as a list with one list of C numbers per voxel."""
    return logits.detach().double().transpose(1, -1).reshape(-1, logits.shape[1]).tolist()


def flat(labels):
    """[B, x, y, z] in the order of `rows`."""
    return labels[:, None].transpose(1, -1).reshape(-1).tolist()


def softmax(row):
    powers = [math.exp(value) for value in row]
    return [power / sum(powers) for power in powers]


def slow_cross_entropy(logits, target, weight=(1,) * CLASSES, mask=None, over=None):
    """Sum of m w_y l over the voxels, divided by the sum of w_y, or by `over`."""
    total = bottom = 0.0
    kept = [1] * target.numel() if mask is None else flat(mask)
    for row, label, keep in zip(rows(logits), flat(target), kept, strict=True):
        total -= keep * weight[label] * math.log(softmax(row)[label])
        bottom += weight[label]
    return total / (over or bottom)


def counts_of(labels):
    return [flat(labels).count(c) for c in range(CLASSES)]
