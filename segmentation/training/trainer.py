"""The training loop: optimizer, rate, precision, log, validation, checkpoints, exact resume."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor

from segmentation.evaluation.statistics import nan_mean
from segmentation.methods.base.method import Batch, Method
from segmentation.training.checkpoint import Identity, TrainState, check_identity, load, save
from segmentation.training.log import LOG, RunLog, open_log, truncate_log
from segmentation.training.monitor import MissingOrganWarning, Validation
from segmentation.training.patches import PatchStream, batches
from segmentation.training.runtime import count_memory, deterministic, memory_used, stop_on_signal
from segmentation.training.trackers import TensorBoard, Tracker

_PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Training(BaseModel):
    """The `[training]` table of a recipe. Time is counted in steps.

    Attributes:
        warmup_steps: first steps, in which only labeled patches teach.
        rate_horizon: steps after which the poly rate would reach 0, as a multiple of `steps`.
        clip_norm: upper limit of the gradient's norm; none as published.
        validate_every, checkpoint_every: in steps; the last step always does both. A validation
            writes last.pt as well.
        warn_after_validations: an organ that so many in a row never predicted is warned about.
        deterministic: take algorithms alone that give the same bits again on a GPU, where a
            resumed run would otherwise end near the uninterrupted one, not at it.
        workers: processes that make patches.
        cached_cases: volumes that each of these processes keeps in memory; all unless given. Of
            the others it reads crops alone.
        volumes_on: `host`, or `device`: all volumes are kept there, and patches cut there; neither
            `workers` nor `cached_cases` is of use then.
        volumes_gib: what they may take of the device.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: int = Field(gt=0)
    warmup_steps: int = Field(default=0, ge=0)
    patch: tuple[PositiveInt, PositiveInt, PositiveInt]
    labeled_per_step: int = Field(default=2, gt=0)
    unlabeled_per_step: int = Field(default=2, ge=0)
    rate: float = Field(default=0.01, gt=0)
    rate_horizon: float = Field(default=1.0, ge=1)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(default=1e-4, ge=0)
    clip_norm: float | None = Field(default=None, gt=0)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    deterministic: bool = False
    validate_every: int = Field(default=1000, gt=0)
    checkpoint_every: int = Field(default=500, gt=0)
    log_every: int = Field(default=10, gt=0)
    warn_after_validations: int = Field(default=3, gt=0)
    workers: int = Field(default=0, ge=0)
    cached_cases: int | None = Field(default=None, ge=0)
    volumes_on: Literal["host", "device"] = "host"
    volumes_gib: float = Field(default=8.0, gt=0)


class Trainer:
    """One run in a folder: log.jsonl, events for TensorBoard, last.pt and best.pt.

    Args:
        method: on the device that it trains on.
        stream: the batches, a function of the step.
        folder: of the run; must exist.
        identity: classes and bank, kept in the checkpoints.
        config: the run's configuration as plain values, kept in the checkpoints.
        validate: what the method reaches on the validation cases, or None without such cases.
        opening: what the log of a new run begins with, as its record of step 0.
        trackers: where curves and pictures go beside the log.
        report: called with every record that goes to the log.

    Raises:
        ValueError: half precision on a CPU.
    """

    def __init__(
        self,
        method: Method,
        stream: PatchStream,
        options: Training,
        folder: Path,
        *,
        identity: Identity,
        config: dict[str, Any],
        device: torch.device,
        validate: Callable[[Method], Validation] | None = None,
        opening: Mapping[str, Any] | None = None,
        trackers: Sequence[type[Tracker]] = (TensorBoard,),
        report: Callable[[dict[str, Any]], None] = lambda record: None,
    ) -> None:
        if options.precision != "fp32" and device.type == "cpu":
            raise ValueError(
                f"training.precision = {options.precision} needs a GPU (torch's bfloat16 gradients "
                "of small feature maps are wrong on some CPUs); set it to fp32"
            )
        self.method, self.stream, self.options, self.folder = method, stream, options, folder
        self.identity, self.config, self.device = identity, config, device
        self.validate, self.opening = validate, opening
        self.trackers, self.report = trackers, report
        self.unpredicted = MissingOrganWarning(options.warn_after_validations)
        self.optimizer = torch.optim.SGD(
            [weight for weight in method.parameters() if weight.requires_grad],
            lr=options.rate,
            momentum=options.momentum,
            nesterov=options.nesterov,
            weight_decay=options.weight_decay,
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "fp16")
        self.step, self.best = 0, None

    step: int
    best: float | None

    def resume(self) -> list[dict[str, Any]]:
        """Go on from last.pt; records of steps that it does not know are dropped from the log.

        Returns:
            The records that stay.

        Raises:
            FileNotFoundError, ValueError: no checkpoint, or one of other classes or another bank.
        """
        path = self.folder / "last.pt"
        state = load(path)
        check_identity(state.identity, self.identity, path)
        self.method.load_state_dict(state.method)
        self.optimizer.load_state_dict(state.optimizer)
        if state.scaler:
            self.scaler.load_state_dict(state.scaler)
        self.step, self.best = state.step, state.best
        past = truncate_log(self.folder / LOG, self.step)
        for record in past:
            self.unpredicted.see(record)
        return past

    def run(self) -> bool:
        """Train to the last step; False if a signal stopped it earlier, with last.pt written."""
        options = self.options
        self.method.train()
        count_memory(self.device)
        with (
            deterministic(options.deterministic),
            stop_on_signal() as stopped,
            open_log(self.folder, self.trackers, self.config, self.step, self.report) as log,
        ):
            if self.step == 0 and self.opening is not None:
                log.write({"step": 0, **self.opening})
            workers = 0 if options.volumes_on == "device" else options.workers
            stream = batches(self.stream, self.step, options.steps, workers=workers)
            begin = time.perf_counter()
            for batch in stream:
                terms = self._learn(batch.to(self.device))
                self.step += 1
                last = self.step == options.steps
                if self.step % options.log_every == 0 or self.step == 1 or last:
                    log.write(self._record(terms, time.perf_counter() - begin))
                due = self.step % options.checkpoint_every == 0 or last
                if self.validate and (self.step % options.validate_every == 0 or last):
                    self._validate(self.validate, log)
                    due = True  # best.pt alone could not be resumed
                stop = stopped()  # asked once: what comes later waits for the next step
                if due or stop:
                    self._save("last.pt")
                if stop:
                    return last
        return True

    def _learn(self, batch: Batch) -> dict[str, Tensor]:
        """One optimizer step; the weighted loss terms."""
        options = self.options
        rate = poly_rate(options.rate, self.step, round(options.steps * options.rate_horizon))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        dtype = _PRECISIONS[options.precision]
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, dtype, enabled=dtype is not None):
            terms = self.method(batch, self.step)
        self.scaler.scale(torch.stack(list(terms.values())).sum()).backward()
        if options.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.method.parameters(), options.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.method.after_step(self.step)
        return {name: term.detach() for name, term in terms.items()}

    def _record(self, terms: Mapping[str, Tensor], seconds: float) -> dict[str, Any]:
        losses = {name: float(term) for name, term in terms.items()}
        total = sum(losses.values())
        if not math.isfinite(total):
            raise self._diverged(f"the loss is {total} ({losses})")
        rate = self.optimizer.param_groups[0]["lr"]
        return {
            "step": self.step,
            "loss": total,
            "rate": rate,
            "seconds": seconds,
            **memory_used(self.device),
            "terms": losses,
        }

    def _validate(self, validate: Callable[[Method], Validation], log: RunLog) -> None:
        """Score the method; best.pt holds the state with the best mean of the first predictor."""
        found = validate(self.method)
        means = {name: nan_mean(list(organs.values())) for name, organs in found.scores.items()}
        score = next(iter(means.values()))
        if self.best is None or math.isnan(self.best) or score > self.best:
            self.best = score
            self._save("best.pt")
        record = {
            "step": self.step,
            "validation": means,
            "organs": found.scores,
            "predicted_voxels": found.predicted_voxels,
            "measures": found.measures,
        }
        record["warnings"] = self.unpredicted.see(record, last=self.step == self.options.steps)
        log.write(record, found.pictures)

    def _diverged(self, what: str) -> ValueError:
        return ValueError(
            f"step {self.step}: {what}. Checkpoints are of earlier steps and sound. A lower rate, "
            "clip_norm, or bf16 in place of fp16 may help"
        )

    def _save(self, name: str) -> None:
        """Write a checkpoint, unless a weight is NaN or infinite."""
        weights = [weight.detach().isfinite().all() for weight in self.method.parameters()]
        if not bool(torch.stack(weights).all()):
            raise self._diverged("a weight is not finite")
        save(self._state(), self.folder / name)

    def _state(self) -> TrainState:
        return TrainState(
            step=self.step,
            method=self.method.state_dict(),
            optimizer=self.optimizer.state_dict(),
            scaler=self.scaler.state_dict(),
            best=self.best,
            identity=self.identity,
            config=self.config,
        )


def poly_rate(initial: float, step: int, horizon: int, power: float = 0.9) -> float:
    """Learning rate after `step` completed steps: initial (1 - step/horizon)^power."""
    return initial * max(1.0 - step / horizon, 0.0) ** power
