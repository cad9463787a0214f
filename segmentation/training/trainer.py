"""The training loop: optimizer, rate, precision, log, validation, checkpoints, exact resume."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segmentation.evaluation.statistics import nan_mean
from segmentation.methods.base.method import Batch, Method
from segmentation.training.checkpoint import (
    Identity,
    TrainState,
    check_identity,
    load,
    load_weights,
    save,
)
from segmentation.training.distributed.ranks import (
    ProcessDied,
    Ranks,
    copy_of_buffers,
    explain_death,
    restore_buffers,
)
from segmentation.training.log import RunLog, open_log, read_log, silent_log, truncate_log
from segmentation.training.monitor import MissingOrganWarning, Validation
from segmentation.training.options import Training, poly_rate
from segmentation.training.patches import PatchStream, batches, explain_killed_worker
from segmentation.training.run_files import BEST, LAST, LOG
from segmentation.training.runtime import (
    deterministic,
    memory_used,
    reset_peak_memory,
    stop_on_signal,
)
from segmentation.training.trackers import TensorBoard, Tracker

_PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Trainer:
    """Training of one run in a folder: log.jsonl, TensorBoard events, last.pt and best.pt.

    Args:
        method: on the training device.
        stream: the batches, a function of the step.
        options: the `[training]` table of the recipe.
        folder: folder of the run; must exist.
        identity: classes, bank and data, stored in the checkpoints.
        config: the run's configuration as plain values, stored in the checkpoints.
        device: training device.
        validate: scores of the method on the validation cases, None without such cases.
        opening: content of the record of step 0 of a new run's log.
        trackers: further destinations of curves and pictures.
        report: called with every record of the log.
        ranks: the processes of this training; the first one writes the folder.

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
        ranks: Ranks | None = None,
    ) -> None:
        if options.precision != "fp32" and device.type == "cpu":
            raise ValueError(
                f"training.precision = {options.precision} needs a GPU (torch's bfloat16 gradients "
                "of small feature maps are wrong on some CPUs); --set training.precision=fp32"
            )
        self.method, self.stream, self.options, self.folder = method, stream, options, folder
        self.identity, self.config, self.device = identity, config, device
        self.validate, self.opening = validate, opening
        self.trackers, self.report = trackers, report
        self.ranks = ranks or Ranks()
        self.unpredicted = MissingOrganWarning(options.warn_after_validations)
        self.optimizer = torch.optim.SGD(
            [weight for weight in method.parameters() if weight.requires_grad],
            lr=options.rate,
            momentum=options.momentum,
            nesterov=options.nesterov,
            weight_decay=options.weight_decay,
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "fp16")
        self.step, self.best, self.stopped_by = 0, None, None

    step: int
    best: float | None
    stopped_by: int | None

    def resume(self) -> list[dict[str, Any]]:
        """Resume from last.pt; records of later steps are dropped from the log.

        Returns:
            The records of the log up to the checkpoint.

        Raises:
            FileNotFoundError: there is no last.pt.
            ValueError: a damaged checkpoint, or one of other classes, bank or data.
        """
        path = self.folder / LAST
        state = load(path)
        check_identity(state.identity, self.identity, path)
        load_weights(self.method, state.method, path)
        self.optimizer.load_state_dict(state.optimizer)
        if state.scaler:
            self.scaler.load_state_dict(state.scaler)
        self.step, self.best = state.step, state.best
        path = self.folder / LOG
        past = truncate_log(path, self.step) if self.ranks.first else read_log(path)
        for record in past:
            self.unpredicted.see(record)
        return past

    def run(self) -> bool:
        """Train to the last step; False if a signal stopped it earlier, with last.pt written.

        Raises:
            ValueError: loss or weights are no longer finite.
            OSError: data cannot be read, log or checkpoint cannot be written.
            ProcessDied: another process of the training has ended; last.pt is written.
        """
        options = self.options
        workers = 0 if options.volumes_on == "device" else options.workers
        self.method.train()
        reset_peak_memory(self.device)
        with (
            deterministic(options.deterministic),
            stop_on_signal() as stopped,
            self._open_log() as log,
            explain_killed_worker(options.workers),
            # Closed at once, which ends the data workers: they ignore the first signal at exit.
            closing(batches(self.stream, self.step, options.steps, workers=workers)) as stream,
        ):
            if self.step == 0 and self.opening is not None:
                log.write({"step": 0, **self.opening})
            begin = time.perf_counter()
            for batch in stream:
                terms = self._learn_together(batch.to(self.device))
                self.step += 1
                last = self.step == options.steps
                if self.step % options.log_every == 0 or self.step == 1 or last:
                    log.write(self._record(terms, time.perf_counter() - begin))
                due = self.step % options.checkpoint_every == 0 or last
                if self.validate and options.validates_after(self.step):
                    self._validate(self.validate, log)
                    due = True  # best.pt alone could not be resumed
                # Read once: a signal after this line counts in the next step, in all processes.
                stop = self._common_stop(stopped() or 0)
                if due or stop:
                    log.sync()
                    self._save(LAST)
                if last and self.validate is None:
                    self._save(BEST)  # nothing could choose another state
                if stop:
                    self.stopped_by = stop
                    return last
        return True

    def _open_log(self) -> AbstractContextManager[RunLog]:
        """The log; that of other processes than the first goes nowhere."""
        if not self.ranks.first:
            return silent_log()
        return open_log(self.folder, self.trackers, self.config, self.step, self.report)

    def _learn_together(self, batch: Batch) -> dict[str, Tensor]:
        """A step of all processes; if one has died, the state before the step is saved."""
        if self.ranks.size == 1:
            return self._learn(batch)
        before = copy_of_buffers(self.method)
        try:
            with explain_death():
                return self._learn(self.ranks.gather(batch))
        except ProcessDied:
            # Weights change only after the last exchange of a step, statistics already within it.
            restore_buffers(self.method, before)
            self._save_after_death()
            raise

    def _common_stop(self, signal: int) -> int:
        """The signal that stops any process after this step, 0 without one."""
        try:
            return self.ranks.largest(signal)
        except ProcessDied:
            self._save_after_death()
            raise

    def _save_after_death(self) -> None:
        """Write last.pt in any process: the first one may be the dead one."""
        self._check_weights()
        save(self._state(), self.folder / LAST)

    def _learn(self, batch: Batch) -> dict[str, Tensor]:
        """One optimizer step; returns the weighted loss terms."""
        options = self.options
        rate = poly_rate(options.rate, self.step, options.horizon)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        dtype = _PRECISIONS[options.precision]
        self.optimizer.zero_grad(set_to_none=True)
        autocast = torch.autocast(self.device.type, dtype, enabled=dtype is not None)
        with autocast, self.ranks.passes():
            terms = self.method(batch, self.step)
        self.scaler.scale(torch.stack(list(terms.values())).sum()).backward()
        self.ranks.average_gradients(self.method)
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
        measures = {name: float(value) for name, value in self.method.measures().items()}
        return {
            "step": self.step,
            "loss": total,
            "rate": rate,
            "seconds": seconds,
            **memory_used(self.device),
            "terms": losses,
            **({"measures": measures} if measures else {}),
        }

    def _validate(self, validate: Callable[[Method], Validation], log: RunLog) -> None:
        """Score the method; best.pt holds the state with the best mean of the first predictor."""
        self._check_weights()
        validation = validate(self.method)
        scores = validation.scores
        means = {name: nan_mean(list(organs.values())) for name, organs in scores.items()}
        score = next(iter(means.values()))
        if self.best is None or math.isnan(self.best) or score > self.best:
            self.best = score
            self._save(BEST)
        record = {
            "step": self.step,
            "validation": means,
            "organs": scores,
            "predicted_voxels": validation.predicted_voxels,
            "measures": validation.measures,
        }
        record["warnings"] = self.unpredicted.see(record, last=self.step == self.options.steps)
        log.write(record, validation.pictures)

    def _diverged(self, fault: str) -> ValueError:
        cases = ", ".join(self.stream.case_names(self.step - 1))
        return ValueError(
            f"step {self.step}: {fault}, after a batch of {cases}. Checkpoints are of earlier "
            "steps and finite. If these scans look right, a lower training.rate, "
            "training.clip_norm, or bf16 in place of fp16 may help"
        )

    def _check_weights(self) -> None:
        """Stop the run once a weight, or a statistic that the method keeps, is not finite."""
        state = {
            name: value
            for name, value in self.method.state_dict().items()
            if value.is_floating_point()
        }
        finite = torch.stack([value.isfinite().all() for value in state.values()])
        if not bool(finite.all()):  # one question to the device for all tensors
            name = next(name for name, good in zip(state, finite.tolist(), strict=True) if not good)
            raise self._diverged(f"{name} is not finite")

    def _save(self, name: str) -> None:
        """Write a checkpoint, unless a weight is NaN or infinite."""
        self._check_weights()
        if self.ranks.first:
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
