"""The `[training]` table of a recipe, and the learning rate's schedule."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator


class Training(BaseModel):
    """`[training]`: schedule, patches, optimizer, validation, memory. Time is counted in steps.

    Attributes:
        steps: optimizer steps of the run; 0, with `epochs`, for one per epoch and unlabeled case.
        epochs: equal parts of the run within which ramps and starts stay constant, as published for
            TAK; without them, ramps move with every step.
        warmup_steps: first steps, in which only labeled patches are used.
        patch: sides of a patch in voxels, x y z.
        case_order: `cases`, one random permutation of all cases after the other, or `published`,
            TAK's: permutations of each list repeated to the length of an epoch, so that a case may
            come twice in a step.
        crops: `all` places of a patch, or `published`: never the last one, and volumes with a side
            of at most the patch are padded by up to three voxels more than needed.
        labeled_per_step: labeled patches per step.
        unlabeled_per_step: unlabeled patches per step.
        rate: initial learning rate; it falls by the poly schedule.
        rate_horizon: steps after which the poly rate would reach 0, as a multiple of `steps`.
        rate_horizon_steps: the same as a number of steps, in place of `rate_horizon`.
        momentum: of SGD.
        nesterov: whether the momentum is Nesterov's.
        weight_decay: L2 penalty of SGD.
        clip_norm: upper limit of the gradient's norm; none by default, as published.
        precision: of the forward pass; half precision needs a GPU.
        deterministic: use deterministic algorithms only; without them a resumed run on a GPU ends
            near the uninterrupted one, not at it.
        validate_every: steps between validations; the last step always has one. A validation
            writes last.pt as well.
        validate_epochs: first epoch after which there is a validation and epochs between them, in
            place of `validate_every`; needs `epochs`.
        validation_absent: an organ that is neither in a case nor predicted there is `skipped` in
            validations, or counts `zero`, as published for TAK.
        checkpoint_every: steps between checkpoints; the last step always writes one.
        log_every: steps between records of the log.
        warn_after_validations: warn about an organ that so many validations in a row never predict.
        workers: processes that cut patches.
        cached_cases: volumes that each worker keeps in memory, all by default; of the others it
            reads crops only.
        volumes_on: `host`, or `device`, where all volumes are kept and patches are cut; `workers`
            and `cached_cases` have no effect then.
        volumes_gib: upper limit of the volumes on the device, in GiB.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: int = Field(default=0, ge=0)
    epochs: PositiveInt | None = None
    warmup_steps: int = Field(default=0, ge=0)
    patch: tuple[PositiveInt, PositiveInt, PositiveInt]
    case_order: Literal["cases", "published"] = "cases"
    crops: Literal["all", "published"] = "all"
    labeled_per_step: int = Field(default=2, gt=0)
    unlabeled_per_step: int = Field(default=2, ge=0)
    rate: float = Field(default=0.01, gt=0)
    rate_horizon: float = Field(default=1.0, ge=1)
    rate_horizon_steps: PositiveInt | None = None
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(default=1e-4, ge=0)
    clip_norm: float | None = Field(default=None, gt=0)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    deterministic: bool = False
    validate_every: int = Field(default=1000, gt=0)
    validate_epochs: tuple[PositiveInt, PositiveInt] | None = None
    validation_absent: Literal["skipped", "zero"] = "skipped"
    checkpoint_every: int = Field(default=500, gt=0)
    log_every: int = Field(default=10, gt=0)
    warn_after_validations: int = Field(default=3, gt=0)
    workers: int = Field(default=0, ge=0)
    cached_cases: int | None = Field(default=None, ge=0)
    volumes_on: Literal["host", "device"] = "host"
    volumes_gib: float = Field(default=8.0, gt=0)

    @model_validator(mode="after")
    def _parts_of_the_run(self) -> Self:
        if not self.steps and self.epochs is None:
            raise ValueError("give steps, or epochs, which have a step per unlabeled case each")
        if self.steps and self.epochs and self.steps % self.epochs:
            raise ValueError(f"steps = {self.steps} is no multiple of epochs = {self.epochs}")
        if self.validate_epochs and self.epochs is None:
            raise ValueError("validate_epochs needs epochs")
        return self

    @property
    def epoch_steps(self) -> int:
        """Steps between which ramps stay constant; 1 without epochs."""
        return self.steps // self.epochs if self.epochs else 1

    @property
    def horizon(self) -> int:
        """Steps after which the poly rate would reach 0."""
        return self.rate_horizon_steps or round(self.steps * self.rate_horizon)

    def validates_after(self, step: int) -> bool:
        """Whether there is a validation after so many steps; there always is after the last."""
        if self.validate_epochs is None:
            return step % self.validate_every == 0 or step == self.steps
        epoch, rest = divmod(step, self.epoch_steps)
        first, between = self.validate_epochs
        due = epoch >= first and not rest and (epoch - first) % between == 0
        return due or step == self.steps


def poly_rate(initial: float, step: int, horizon: int, power: float = 0.9) -> float:
    """Learning rate after `step` completed steps: initial (1 - step/horizon)^power."""
    return initial * max(1.0 - step / horizon, 0.0) ** power
