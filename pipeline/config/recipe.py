"""One run, frozen and strict: a recipe in TOML, changed by `--set table.key=value`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from knowledge.common.models import Strict
from pipeline.config.options import Choice
from segmentation.training.trainer import Training

Share = Annotated[float, Field(ge=0, lt=1)]


class NetworkConfig(Strict):
    """The V-Net's size; see `segmentation.networks.vnet.VNet`."""

    width: int = Field(default=16, gt=0)
    levels: int = Field(default=5, ge=3)
    norm: Literal["instance", "batch"] = "instance"
    dropout: float = Field(default=0.0, ge=0, lt=1)
    recompute: bool = False


class HeadConfig(Strict):
    """`conv`, one convolution, or `text`, weights generated from the bank's vectors.

    Attributes:
        kernel: of the text head: `plain` does without the Triton kernels that `auto` takes on CUDA.
        form: of the text head: `published`, or `linear`, which learns as fast as `conv` where
            patches show a small part of the body; see `segmentation.networks.heads.TextHead`.
    """

    name: Literal["conv", "text"] = "conv"
    kernel: Literal["auto", "plain"] = "auto"
    form: Literal["published", "linear"] = "published"


class TextConfig(Strict):
    """How the vectors of the bank are handed to head and alignment; as they are by default.

    Sentences about organs are much alike, so their vectors share most of their length. Without
    that common part, and longer, they set the classes apart sooner: on phantoms a text head that
    had learned nothing after 150 steps had learned most organs.

    Attributes:
        aspects: of the bank, in this order; all of them unless given.
        center: subtract from every aspect its mean over classes.
        norm: the length that every vector is given, after centering.
    """

    aspects: tuple[str, ...] | None = Field(default=None, min_length=1)
    center: bool = False
    norm: float | None = Field(default=None, gt=0)


class InferenceConfig(Strict):
    """Sliding window: its overlap, its fusion, and which network predicts, the first if none.

    Attributes:
        overlap: share in [0, 1) of a window that the next one repeats, or one of x, y and z each.
        validation_overlap: the same for the validation while training, which only chooses a
            checkpoint and need not take as long.
    """

    overlap: Share | tuple[Share, Share, Share] = 0.5
    validation_overlap: Share | tuple[Share, Share, Share] = 0.25
    blend: Literal["gaussian", "constant"] = "gaussian"
    predictor: str | None = None
    windows_per_call: int = Field(default=4, gt=0)


class RunConfig(Strict):
    """Everything that makes a run what it is."""

    title: str
    seed: int = Field(default=0, ge=0)
    network: NetworkConfig = NetworkConfig()
    method: Choice
    loss: Choice
    head: HeadConfig = HeadConfig()
    text: TextConfig = TextConfig()
    alignment: Choice = Choice(name="none")
    training: Training
    inference: InferenceConfig = InferenceConfig()

    @model_validator(mode="after")
    def _patch_fits_levels(self) -> Self:
        step = 2 ** (self.network.levels - 1)
        if any(side % step or side < 2 * step for side in self.training.patch):
            raise ValueError(
                f"training.patch = {list(self.training.patch)} does not fit network.levels = "
                f"{self.network.levels}: every side must be a multiple of {step} and at least "
                f"{2 * step}"
            )
        return self

    @property
    def needs_bank(self) -> bool:
        """Whether text takes part."""
        return self.head.name == "text" or self.alignment.name != "none"
