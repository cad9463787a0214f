"""Every table of a recipe; `--set table.key=value` changes a key.

`[training]` is `segmentation.training.options.Training`, which the trainer reads itself, and
`[augmentation]` is `segmentation.training.augmentation.Augmentation`. The options in `[method]`,
`[loss]`, `[head]` and `[alignment]` are the keyword-only arguments of the class that `name`
chooses. `tak recipe NAME` prints a recipe with the meaning of every key.
"""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from knowledge.common.models import Strict
from pipeline.config.options import Choice, checked_choice, choices, constructor, reads_text
from segmentation.training.augmentation import Augmentation
from segmentation.training.options import Training

Share = Annotated[float, Field(ge=0, lt=1)]


class NetworkConfig(Strict):
    """`[network]`: the size of the V-Net (`segmentation.networks.vnet.VNet`).

    Attributes:
        width: channels of the finest level; every coarser level has twice as many.
        levels: resolutions of the encoder; patches are multiples of 2^(levels - 1) voxels.
        norm: normalization after every convolution.
        dropout: share of channels set to 0 in training.
        recompute: gradient checkpointing of the two finest levels: less memory, more time.
    """

    width: int = Field(default=16, gt=0)
    levels: int = Field(default=5, ge=3)
    norm: Literal["instance", "batch"] = "instance"
    dropout: float = Field(default=0.0, ge=0, lt=1)
    recompute: bool = False


class HeadConfig(Strict):
    """`[head]`: the last layer, from decoded features to class logits.

    Other keys are options of the head that `name` chooses. Those of the text head are fields, which
    other heads ignore, so that `head.name` alone switches a recipe between heads.

    Attributes:
        name: `conv`, one convolution, `text`, weights generated from the bank's vectors, or another
            module of `segmentation/networks/heads`.
        kernel: of the text head: `auto` uses Triton kernels on CUDA, `plain` never does.
        form: of the text head: `published`, or `linear`, which learns as fast as `conv` where
            patches show a small part of the body (`segmentation.networks.heads.text`).
    """

    model_config = ConfigDict(extra="allow")  # checked by RunConfig

    name: str = "conv"
    kernel: Literal["auto", "plain"] = "auto"
    form: Literal["published", "linear"] = "published"


class TextConfig(Strict):
    """`[text]`: scaling of the bank's vectors before head and alignment read them.

    Sentences about organs are much alike, so their vectors share most of their length. Without
    that common part, and longer, they separate the classes sooner: on phantoms a text head that
    had learned nothing after 150 steps had learned most organs.

    Attributes:
        aspects: aspects of the bank, in this order; all of them by default.
        center: subtract from every aspect its mean over classes.
        norm: length of every vector after centering; unchanged by default.
        block_levels: number of deepest levels whose features read the text (VCLIPSeg's block), with
            any head; 1 is the bottleneck alone.
        learnable: a control: random vectors of the same lengths, trained with the network, take
            the place of the bank's.
    """

    aspects: tuple[str, ...] | None = Field(default=None, min_length=1)
    center: bool = False
    norm: float | None = Field(default=None, gt=0)
    block_levels: int = Field(default=0, ge=0)
    learnable: bool = False


class InferenceConfig(Strict):
    """`[inference]`: the sliding window, and the network that predicts.

    Attributes:
        overlap: share of a window that the next one repeats, or one share for each of x, y and z.
        validation_overlap: the same in the validation during training, which only chooses a
            checkpoint and need not take as long.
        blend: weight of a voxel in its window: `gaussian`, less toward the border, or `constant`.
        predictor: which network of the method predicts; its first by default.
        windows_per_call: windows in one forward pass.
    """

    overlap: Share | tuple[Share, Share, Share] = 0.5
    validation_overlap: Share | tuple[Share, Share, Share] = 0.25
    blend: Literal["gaussian", "constant"] = "gaussian"
    predictor: str | None = None
    windows_per_call: int = Field(default=4, gt=0)


class RelationsConfig(Strict):
    """`[relations]`: claims about positions as a loss or as a filter of pseudo-labels; off.

    Each claim is first tested on labeled patches: those that do not hold at the patch's size are
    left out, the others get a limit and a weight (`segmentation.training.relation_limits`). The
    loss needs one more forward pass of the unlabeled patches. The filter takes claims of a limit up
    to 0.1 and methods with pseudo-labels (`segmentation.relations.ClaimFilter`).

    Attributes:
        weight: factor of the loss on unlabeled patches; 0 for no loss.
        filter: share of an organ's mass in a patch, at least 0.5: voxels on whose wrong side more
            of it lies have no pseudo-label; 0 for no filter.
        source: `claims`, the directional claims of a description set; two controls, `mirrored`,
            those that hold turned around, and `shuffled`, those that hold with organs exchanged; or
            `geometry`, all that hold in the labeled cases, without a description set.
        claims: file of the description set; a run keeps the relations that it uses.
        threshold: probability above which a voxel counts; 0 for all, with their probabilities.
        sharpness: exponent of the probabilities.
        margin: voxels by which an organ may be on the wrong side.
        least: mass in voxels below which an organ does not count as present in a patch.
        tested_steps: batches of labeled patches on which the claims are tested.
    """

    weight: float = Field(default=0.0, ge=0)
    filter: float = Field(default=0.0, ge=0, lt=1)
    source: Literal["claims", "mirrored", "shuffled", "geometry"] = "claims"
    claims: str | None = None
    threshold: float = Field(default=0.5, ge=0, lt=1)
    sharpness: float = Field(default=1.0, gt=0)
    margin: int = Field(default=0, ge=0)
    least: float = Field(default=8.0, gt=0)
    tested_steps: int = Field(default=100, gt=0)

    @model_validator(mode="after")
    def _claims_are_given(self) -> Self:
        if 0 < self.filter < 0.5:
            raise ValueError(
                f"relations.filter: expected 0 or a share in [0.5, 1), got {self.filter}"
            )
        if self.used and self.source != "geometry" and self.claims is None:
            raise ValueError(
                f"relations.source = {self.source} needs relations.claims, the file of a "
                "description set (`tak describe`)"
            )
        return self

    @property
    def used(self) -> bool:
        """Whether relations are a loss or a filter."""
        return bool(self.weight or self.filter)


class RunConfig(Strict):
    """The configuration of one run, frozen and strict.

    Attributes:
        title: name of the run in reports.
        seed: random seed of initialization, patches and augmentation.
        network: size of the V-Net.
        method: use of the unlabeled scans.
        loss: supervised and pseudo-label loss.
        head: last layer.
        text: scaling of the text vectors.
        alignment: contrast between text vectors and visual features.
        relations: claims about positions as a loss or a filter.
        training: schedule, patches, optimizer, validation, memory.
        augmentation: random transforms of patches.
        inference: sliding window.
    """

    title: str
    seed: int = Field(default=0, ge=0)
    network: NetworkConfig = NetworkConfig()
    method: Choice
    loss: Choice
    head: HeadConfig = HeadConfig()
    text: TextConfig = TextConfig()
    alignment: Choice = Choice(name="none")
    relations: RelationsConfig = RelationsConfig()
    training: Training
    augmentation: Augmentation = Augmentation()
    inference: InferenceConfig = InferenceConfig()

    @field_validator("method", "loss", "alignment")
    @classmethod
    def _checked_choice(cls, choice: Choice, info: ValidationInfo) -> Choice:
        return checked_choice(str(info.field_name), choice)

    @field_validator("head")
    @classmethod
    def _checked_head(cls, head: HeadConfig) -> HeadConfig:
        extra = dict(head.model_extra or {})
        choice = checked_choice("head", Choice(name=head.name, options=extra))
        return HeadConfig(**{**dict(head), "name": choice.name, **choice.options})

    @model_validator(mode="after")
    def _tables_fit_each_other(self) -> Self:
        step = 2 ** (self.network.levels - 1)
        if any(side % step or side < 2 * step for side in self.training.patch):
            raise ValueError(
                f"training.patch = {list(self.training.patch)} does not fit network.levels = "
                f"{self.network.levels}: every side must be a multiple of {step} and at least "
                f"{2 * step}"
            )
        if self.text.block_levels > self.network.levels:
            raise ValueError(
                f"text.block_levels = {self.text.block_levels} does not fit network.levels = "
                f"{self.network.levels}"
            )
        method = constructor("method", self.method.name)
        if getattr(method, "needs_unlabeled", False) and self.training.unlabeled_per_step == 0:
            raise ValueError(
                f"method.name = {self.method.name} needs training.unlabeled_per_step > 0"
            )
        if self.relations.weight and self.training.unlabeled_per_step == 0:
            raise ValueError("relations.weight needs training.unlabeled_per_step > 0")
        if self.relations.filter and not getattr(method, "pseudo_labels", False):
            raise ValueError(
                f"relations.filter = {self.relations.filter} does not fit method.name = "
                f"{self.method.name}, which has no loss on pseudo-labels of voxels; methods with "
                f"one: {_methods_with('pseudo_labels')}"
            )
        if self.relations.used and self.augmentation.mirror:
            raise ValueError(
                f"relations do not fit augmentation.mirror = {list(self.augmentation.mirror)}: in "
                "a mirrored patch the sides of the patient are exchanged"
            )
        if self.augmentation.views == "two" and not getattr(method, "two_views", False):
            raise ValueError(
                f"augmentation.views = two does not fit method.name = {self.method.name}, which "
                f"sees one view; methods of two views: {_methods_with('two_views')}"
            )
        return self

    def for_split(self, unlabeled: int) -> Self:
        """The configuration with its number of steps, where epochs give it.

        Args:
            unlabeled: unlabeled cases of the split; an epoch has a step for each.

        Raises:
            ValueError: epochs without an unlabeled case.
        """
        if self.training.steps:
            return self
        assert self.training.epochs is not None
        if not unlabeled:
            raise ValueError(
                "training.epochs have a step per unlabeled case, and there is none: give "
                "training.steps"
            )
        steps = self.training.epochs * unlabeled
        return self.model_copy(
            update={"training": self.training.model_copy(update={"steps": steps})}
        )

    @property
    def needs_bank(self) -> bool:
        """Whether head, alignment or text blocks read text vectors."""
        return self.text.block_levels > 0 or reads_text(self.head.name, self.alignment.name)


def _methods_with(ability: str) -> str:
    """The names of the methods whose class attribute of that name is true."""
    kinds = ((name, constructor("method", name)) for name in choices("method"))
    return ", ".join(name for name, kind in kinds if getattr(kind, ability, False))
