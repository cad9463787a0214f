"""Transfer of trained weights to another network, for fine-tuning; rows of classes go by name."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from segmentation.networks.network import Network


@dataclass(frozen=True)
class Transfer:
    """What a network took from trained weights.

    Attributes:
        taken: weights that were taken whole.
        rows: weights with one row per class, with the names of the classes that were taken.
        left: weights that keep their first values, with the reason.
        unused: trained weights for which the network has no place.
    """

    taken: tuple[str, ...]
    rows: dict[str, tuple[str, ...]] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()


def transfer(
    network: Network,
    source: Mapping[str, Tensor],
    classes: Sequence[str],
    source_classes: Sequence[str],
) -> Transfer:
    """Put trained weights into a network where name and shape agree, axes of length 1 aside.

    The text vectors stay those of the network's own bank. Learnable vectors, and whatever head and
    alignment state as `class_rows`, are taken row by row for classes of the same name.

    Args:
        source: the state of a `Network`, or a part of one.
        classes: names of the network's classes, background first.
        source_classes: those of the trained network; empty if unknown.

    Raises:
        ValueError: nothing fits.
    """
    own = network.state_dict()
    by_class = set(_class_rows(network))
    common = [name for name in classes if name in source_classes]
    taken, rows, left = [], {}, {}
    for name, value in own.items():
        if name == "vectors" and name not in by_class:
            continue  # a buffer: of the run's own bank
        trained = source.get(name)
        if trained is None:
            left[name] = "not in the trained weights"
        elif name in by_class and (list(classes) != list(source_classes)):
            if not common or trained.shape[1:] != value.shape[1:]:
                left[name] = "no class of the same name" if not common else _shapes(trained, value)
                continue
            for label in common:
                value[list(classes).index(label)] = trained[list(source_classes).index(label)]
            rows[name] = tuple(common)
        elif _bare(trained) != _bare(value):
            left[name] = _shapes(trained, value)
        else:
            value.copy_(trained.reshape(value.shape))
            taken.append(name)
    if all(own[name].ndim < 2 for name in taken):  # biases alone
        raise ValueError("no weight has a name and shape of this network")
    network.load_state_dict(own)
    unused = tuple(name for name in source if name not in own and name != "vectors")
    return Transfer(tuple(taken), rows, left, unused)


def networks_to_start(method: nn.Module) -> tuple[list[Network], list[Network]]:
    """The networks of a method that take trained weights, and those that keep their own.

    The first network takes them, and so does every network that is not trained, such as a teacher.
    Further trained networks stay as they are: two equal ones would teach each other nothing.
    """
    networks = [module for module in method.modules() if isinstance(module, Network)]
    take, keep = networks[:1], list[Network]()
    for network in networks[1:]:
        trained = any(weight.requires_grad for weight in network.parameters())
        (keep if trained else take).append(network)
    return take, keep


def _class_rows(network: Network) -> Iterator[str]:
    """Names of the weights whose rows belong to classes."""
    parts = (("head", network.head), ("contrast", network.contrast))
    for name, _ in network.named_parameters():
        if name == "vectors":
            yield name
        for prefix, part in parts:
            inner = name.removeprefix(f"{prefix}.")
            stated = () if part is None else part.class_rows
            if inner != name and inner.split(".")[0] in stated:
                yield name


def _bare(weight: Tensor) -> list[int]:
    """The shape without axes of length 1: a linear layer may be a 1x1x1 convolution elsewhere."""
    return [length for length in weight.shape if length != 1]


def _shapes(trained: Tensor, own: Tensor) -> str:
    return f"shape {list(trained.shape)}, expected {list(own.shape)}"


def first_network(module: nn.Module) -> Network | None:
    """The first `Network` within a predictor, such as an ensemble."""
    return next((each for each in module.modules() if isinstance(each, Network)), None)


@torch.no_grad()
def start_from(
    method: nn.Module,
    source: Mapping[str, Tensor],
    classes: Sequence[str],
    source_classes: Sequence[str],
) -> tuple[Transfer, int]:
    """Transfer to all networks of a method that take trained weights.

    Returns:
        The transfer of the first network, and the number of networks that keep their first values.

    Raises:
        ValueError: nothing fits.
    """
    take, keep = networks_to_start(method)
    if not take:
        raise ValueError("the method has no network that could take weights")
    results = [transfer(network, source, classes, source_classes) for network in take]
    return results[0], len(keep)
