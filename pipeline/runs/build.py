"""Method, loss and networks of a run from its configuration and inputs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from pipeline.config.options import option_names
from pipeline.config.recipe import RunConfig
from pipeline.config.registry import load_choice
from segmentation.losses import LOSSES, Loss
from segmentation.methods.base.method import Method, MethodContext
from segmentation.networks.alignments.base.alignment import Alignment
from segmentation.networks.heads.base.head import Head, HeadInputs
from segmentation.networks.network import DEEP, Network
from segmentation.networks.text_block import TextBlock
from segmentation.networks.vnet import VNet
from segmentation.relations import ClaimFilter, Relation, RelationLoss


@dataclass(frozen=True)
class RunInputs:
    """The data set's and the bank's contribution to a method.

    Attributes:
        classes: class names with background first.
        vectors: text vectors [C, A, E] in the order of the classes, None without text.
        voxels: of each class in the labeled cases, for methods that weight classes.
        relations: relations of organs that hold in the labeled cases, for a loss or a filter.
    """

    classes: tuple[str, ...]
    vectors: torch.Tensor | None = None
    voxels: tuple[int, ...] | None = None
    relations: tuple[Relation, ...] = ()

    @classmethod
    def for_prediction(
        cls, classes: tuple[str, ...], vectors: torch.Tensor | None = None
    ) -> "RunInputs":
        """Inputs of a method that predicts or loads a state, without training from scratch.

        Methods that weight classes get equal counts; their statistics come with the state.
        """
        return cls(classes, vectors, (1,) * len(classes))


def build_method(config: RunConfig, inputs: RunInputs) -> Method:
    """The method of a run, freshly initialized from the run's seed, on the CPU.

    Raises:
        ValueError: an option out of its range, or no text vectors where they are needed.
    """
    if config.needs_bank and inputs.vectors is None:
        raise ValueError(
            f"head = {config.head.name} with alignment = {config.alignment.name} needs text: "
            "give a bank"
        )
    kind = load_choice("segmentation.methods", config.method.name, Method)
    context = MethodContext(
        network_builder(config, inputs),
        build_loss(config),
        total_steps=config.training.steps,
        classes=len(inputs.classes),
        patch=config.training.patch,
        voxels=inputs.voxels,
        seed=config.seed,
        warmup_steps=config.training.warmup_steps,
        epoch_steps=config.training.epoch_steps,
        relations=_relation_loss(config, inputs.relations),
        claim_filter=_claim_filter(config, inputs.relations),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return kind(context, **config.method.options)


def _relation_loss(config: RunConfig, relations: tuple[Relation, ...]) -> RelationLoss | None:
    """The relation loss; None without relations, as in prediction."""
    options = config.relations
    if not relations or not options.weight:
        return None
    return RelationLoss(relations, weight=options.weight, **_mass_options(config))


def _claim_filter(config: RunConfig, relations: tuple[Relation, ...]) -> ClaimFilter | None:
    """The filter of pseudo-labels; None without relations, as in prediction."""
    options = config.relations
    if not relations or not options.filter:
        return None
    return ClaimFilter(relations, share=options.filter, **_mass_options(config))


def _mass_options(config: RunConfig) -> dict[str, Any]:
    """Options of the masses that loss and filter compare."""
    chosen = {"threshold", "sharpness", "margin", "least"}
    return config.relations.model_dump(include=chosen)


def build_loss(config: RunConfig) -> Loss:
    """The loss of a run."""
    return LOSSES[config.loss.name](**config.loss.options)


def network_builder(config: RunConfig, inputs: RunInputs) -> Callable[[], Network]:
    """A function that returns a freshly initialized network of a run."""

    def build() -> Network:
        vnet = VNet(**config.network.model_dump())
        deep_widths = vnet.widths[-DEEP:]
        vectors = inputs.vectors if config.needs_bank else None
        aspects, text_width = (0, 0) if vectors is None else vectors.shape[1:]
        sizes = HeadInputs(vnet.width, tuple(deep_widths), len(inputs.classes), aspects, text_width)
        head = _build_head(config, sizes)
        alignment = _build_alignment(config, sizes, head)
        blocks = [
            TextBlock(width, sizes.classes, aspects, text_width, config.network.norm)
            for width in vnet.widths[vnet.levels - config.text.block_levels :]
        ]
        return Network(
            vnet, head, alignment, vectors, learnable=config.text.learnable, text_blocks=blocks
        )

    return build


def _build_head(config: RunConfig, inputs: HeadInputs) -> Head:
    kind = load_choice("segmentation.networks.heads", config.head.name, Head)
    options = dict(config.head)
    return kind.build(inputs, **{key: options[key] for key in option_names(kind) if key in options})


def _build_alignment(config: RunConfig, inputs: HeadInputs, head: Head) -> Alignment | None:
    if config.alignment.name == "none":
        return None
    kind = load_choice("segmentation.networks.alignments", config.alignment.name, Alignment)
    return kind(
        inputs.deep_widths,
        inputs.text_width,
        own_deepest=not head.projects_text,
        classes=inputs.classes,
        **config.alignment.options,
    )
