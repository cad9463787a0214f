"""Running of one stage: lock it, run its command in a worker, record the outcome."""

import threading
import time
from dataclasses import replace
from pathlib import Path

from pipeline.experiments.engines.observer import Observer
from pipeline.experiments.engines.workers import IN_USE, Outcome, Worker
from pipeline.experiments.estimates import spent
from pipeline.experiments.planning import Plan
from pipeline.experiments.stages import Stage
from pipeline.experiments.store import Store

_POLL_SECONDS = 0.5
_SAVE_SECONDS = 120.0


class StageMaker:
    """Runs stages, each once even if several processes share the store.

    Args:
        device: of training and evaluation, as in `tak train --device`.

    Attributes:
        stopping: set it to end waiting and to start no further stage.
    """

    def __init__(self, plan: Plan, store: Store, observer: Observer, device: str = "auto") -> None:
        self.plan, self.store, self.observer, self.device = plan, store, observer, device
        self.stopping = threading.Event()
        limits = plan.study.file.limits
        self._spending = threading.Lock() if limits.max_tokens or limits.max_cost else None

    def make(self, stage: Stage, worker: Worker) -> Outcome | None:
        """Run one stage, or wait for the process that does; None if another process ran it."""
        while not self.stopping.is_set():
            with self.store.lock(stage) as held:
                if held:
                    # Another study may have made it since the plan, or while this one waited.
                    state = self.store.state(stage, thorough=True)
                    if state == "done":
                        return None
                    if state in ("damaged", "removed"):
                        self.store.clear(stage)
                    return self._make_locked(stage, worker)
            time.sleep(_POLL_SECONDS)
        return Outcome(130, "interrupted", 0.0)

    def _make_locked(self, stage: Stage, worker: Worker) -> Outcome:
        if self.stopping.is_set():
            return Outcome(130, "interrupted", 0.0)
        for earlier in stage.inputs:
            if self.store.state(earlier, thorough=True) != "done":
                error = f"its input {earlier.label} changed on disk; run the study again"
                return Outcome(1, error, 0.0)
        self.observer.started(stage)
        limited = stage.kind == "describe" and self._spending
        if limited:
            limited.acquire()
        try:
            outcome = self._run(stage, worker)
        finally:
            if limited:
                limited.release()
        if outcome.code == 1 and stage.kind == "check" and self.store.product(stage).is_file():
            # `tak check` ends with 1 if claims are contradicted: a result, not a failure.
            outcome = replace(outcome, code=0, error="")
        if outcome.code == 0:
            self.store.finish(stage, outcome.seconds, outcome.peak_mib, outcome.gpu_mib)
        else:
            interrupted = outcome.code in (130, 143) or self.stopping.is_set()
            self.store.fail(stage, outcome.error, outcome.seconds, interrupted=interrupted)
        return outcome

    def _run(self, stage: Stage, worker: Worker) -> Outcome:
        """Run the command; wait for the training of a killed study, which saves before it ends."""
        end = time.monotonic() + _SAVE_SECONDS
        while True:
            outcome = worker.run(self._words(stage), self.store.log(stage))
            if outcome.code != IN_USE or self.stopping.is_set() or time.monotonic() > end:
                return outcome
            time.sleep(_POLL_SECONDS)

    def _words(self, stage: Stage) -> list[str]:
        """The command with every placeholder filled in."""
        places = {"out": self.store.product(stage), "store": self.store.root}
        places |= {earlier.key: self.store.product(earlier) for earlier in _inputs(stage)}
        words = [_filled(word, places) for word in stage.words]
        if stage.kind == "train" and (self.store.product(stage) / "last.pt").is_file():
            words.append("--resume")
        if stage.kind in ("train", "evaluate"):
            words += ["--device", self.device]
        if stage.kind == "check":
            self.store.product(stage).unlink(missing_ok=True)
        if stage.kind == "split" and self.store.product(stage).is_dir():
            self._remove_lists(stage)
        if stage.kind == "evaluate":
            self.store.product(stage).mkdir(parents=True, exist_ok=True)
        if stage.kind == "describe" and self._spending:
            words += self._remaining()
        return words

    def _remove_lists(self, stage: Stage) -> None:
        """`tak split` wants a new or empty folder; lists of a failed stage are drawn again."""
        for path in self.store.product(stage).iterdir():
            path.unlink()

    def _remaining(self) -> list[str]:
        """The rest of the limits of the study, after all finished description sets."""
        limits = self.plan.study.file.limits
        tokens, cost = spent(self.plan.stages, self.store)
        words = []
        if limits.max_tokens is not None:
            words += ["--max-tokens-total", str(max(1, limits.max_tokens - tokens))]
        if limits.max_cost is not None:
            words += ["--max-cost", str(max(0.0, limits.max_cost - cost))]
        return words


def _inputs(stage: Stage) -> list[Stage]:
    return [each for earlier in stage.inputs for each in (*_inputs(earlier), earlier)]


def _filled(word: str, places: dict[str, Path]) -> str:
    for name, path in places.items():
        word = word.replace(f"{{{name}}}", str(path))
    return word
