"""Conversion of checkpoints of the released TAK code (arXiv 2501.13470) to this network.

The released network has five levels; layers that are linear here are 1x1x1 convolutions there.
"""

from collections.abc import Iterator, Mapping

from torch import Tensor

_LEVELS = ("one", "two", "three", "four", "five")
_CONVOLUTIONS = (1, 2, 3, 3, 3)
_DECODER = ("nine", "eight", "seven", "six")  # decoder blocks of levels 0 ... 3
_UP = ("eight", "seven", "six", "five")  # upsampling blocks that lead to levels 0 ... 3


def _modules() -> Iterator[tuple[str, str]]:
    """(name here, name there) of every module with parameters, relative to the network."""
    for level, (word, count) in enumerate(zip(_LEVELS, _CONVOLUTIONS, strict=True)):
        for place in range(count):
            yield f"vnet.encoder.{level}.{place}.0", f"block_{word}.conv.{3 * place}"
    for level in range(4):
        yield f"vnet.down.{level}.0", f"block_{_LEVELS[level]}_dw.conv.0"
        yield f"vnet.up.{level}.0", f"block_{_UP[level]}_up.conv.0"
        for place in range(_CONVOLUTIONS[level]):
            yield f"vnet.decoder.{level}.{place}.0", f"block_{_DECODER[level]}.conv.{3 * place}"
    yield "head.project.0", "text_to_256.0"
    yield "head.combine.0", "text_to_vision.0"
    yield "head.controller", "controller"
    yield "head.prepare.0", "precls_conv.0"
    yield "head.prepare.2", "precls_conv.2"
    for place, (pool, width) in enumerate((("Gap", 64), ("GAP", 128), ("GAP", 256))):
        yield f"head.pool.{place}.norm", f"{pool}_{width}.0"
        yield f"head.pool.{place}.linear", f"{pool}_{width}.3"
        yield f"contrast.visual.{place}.0", f"features_to_{width}.0"
        yield f"contrast.visual.{place}.3", f"features_to_{width}.3"
    yield "contrast.text.0.0", "text_to_64.0"
    yield "contrast.text.1.0", "text_to_128.0"


def convert_weights(
    published: Mapping[str, Tensor], method: Mapping[str, Tensor], prefix: str = "network."
) -> dict[str, Tensor]:
    """The released network's parameters under the names and in the shapes of this project.

    Args:
        published: state of the released network; a leading `module.` is removed.
        method: state of the method here, for the shapes.
        prefix: of the network's names in `method`, such as `network.` or `teacher.`.

    Returns:
        Parameters for `load_state_dict(..., strict=False)`: the text vectors are not among them,
        because the released checkpoints do not hold them.

    Raises:
        ValueError: a parameter is missing or has another number of entries.
    """
    bare = {name.removeprefix("module."): value for name, value in published.items()}
    converted = {}
    for here, there in _modules():
        for part in ("weight", "bias"):
            name, source = f"{prefix}{here}.{part}", f"{there}.{part}"
            if source not in bare:
                raise ValueError(f"the published checkpoint has no parameter {source}")
            if bare[source].numel() != method[name].numel():
                raise ValueError(
                    f"{source} has shape {tuple(bare[source].shape)}; "
                    f"expected that of {name}, {tuple(method[name].shape)}"
                )
            converted[name] = bare[source].reshape(method[name].shape)
    return converted


def renamed(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of the released network's parameters that exist, under the names of a `Network` here.

    The same V-Net, under the same names, is published with UA-MT, SS-Net, DHC and others.
    """
    bare = {name.removeprefix("module."): value for name, value in published.items()}
    weights = {}
    for here, there in _modules():
        for part in ("weight", "bias"):
            value = bare.get(f"{there}.{part}")
            if value is not None:
                weights[f"{here}.{part}"] = value
    return weights


def convert_location_weights(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The cube location MLP of the released network under the names of `MagicNet`."""
    bare = {name.removeprefix("module."): value for name, value in published.items()}
    start = "fc_layer.fc_layer."
    return {
        f"location.{name.removeprefix(start)}": value
        for name, value in bare.items()
        if name.startswith(start)
    }
