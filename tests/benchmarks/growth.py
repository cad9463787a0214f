"""Work that grows with something else than a network's classes: `... .growth NAME SIZE`.

Each function makes its input of a size and returns what is timed, which may return further costs.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tests.benchmarks.memory import peak_gib

if TYPE_CHECKING:
    from knowledge.questions.template import Template

Work = Callable[[], dict[str, float] | None]
_SIDES = (64, 96, 128, 192)
_ORGANS = (16, 105, 300, 1000)


@dataclass(frozen=True)
class Growth:
    """Work of growing size.

    Attributes:
        of: what the size is a number of.
    """

    of: str
    sizes: tuple[int, ...]
    prepare: Callable[[int, Path], Work]


def _names(count: int) -> tuple[str, ...]:
    return ("background", *(f"structure number {place}" for place in range(1, count)))


def _template(classes: int) -> "Template":
    from knowledge.questions.template import Template, Wording

    wording = Wording(title="t", aspects={"place": "Where does the {organ} lie?"})
    return Template(f"of {classes}", wording)


def bank_plot(size: int, folder: Path) -> Work:
    """`tak bank plot` of so many classes."""
    from knowledge.bank.bank import Bank
    from knowledge.bank.plot import plot

    classes, random = _names(size), np.random.default_rng(0)
    bank = Bank(
        classes=classes, aspects=("shape", "position"),
        vectors=random.normal(size=(size, 2, 384)).astype(np.float32),
        texts=tuple((f"shape of {name}", f"position of {name}") for name in classes),
        token_counts=np.zeros((size, 2), np.int32), encoder="random numbers",
        fingerprint=np.zeros((0, 384), np.float32), origin={},
    )  # fmt: skip
    return lambda: plot(bank, folder / "bank.png", [(100, 100, 100)] * size)


def questions(size: int, folder: Path) -> Work:
    """All questions of `tak describe` for so many organs, and what they send."""
    from knowledge.questions.questions import questions as asked

    def run() -> dict[str, float]:
        sent = 0
        for each in asked(_template(size), _names(size)):
            sent += len(each.system) + len(each.task) + len(each.format_hint)
            sent += len(json.dumps(each.schema))
        return {"sent_mb": sent / 1e6}

    return run


def replay(size: int, folder: Path) -> Work:
    """`tak describe` with recorded answers for so many organs."""
    from knowledge.asking.describe import describe
    from knowledge.providers.base.answer_store import AnswerStore
    from knowledge.providers.recorded import Recorded

    template, classes = _template(size), _names(size)
    answers = [
        {"organ": name, "aspect": "place", "sample": 0, "answer": {
            "organ": name, "text": f"The {name} lies somewhere.", "claims": [], "attributes": []}}
        for name in classes
    ]  # fmt: skip
    store = AnswerStore.model_validate({
        "template": template.name, "template_digest": template.digest, "model": "nobody",
        "answers": answers,
    })  # fmt: skip
    return lambda: describe(template, classes, Recorded(store)) and None


def rules_magicnet(size: int, folder: Path) -> Work:
    """All metrics by the rules `magicnet` of a case of 13 organs with sides of so many voxels."""
    from segmentation.evaluation.rules import named

    truth = np.zeros((size, size, size), np.uint8)
    random = np.random.default_rng(0)
    for label in range(1, 14):
        low = random.integers(0, size // 2, 3)
        truth[tuple(slice(at, at + size // 4) for at in low)] = label
    names = ("background", *(f"organ {label}" for label in range(1, 14)))
    score = named("magicnet").score
    return lambda: score(np.roll(truth, 1, 0), truth, names, (1.5, 1.5, 2.0), 1.0) and None


def phantom(size: int, folder: Path) -> Work:
    """`tak phantom --shape N N N/2`, one scan."""
    from tests.support.command_line import tak

    words = ["phantom", folder / "out", "--labeled", 1, "--unlabeled", 0, "--validation", 0]
    words += ["--test", 0, "--shape", size, size, size // 2]
    return lambda: tak(*words) and None


GROWTHS = {
    "bank_plot": Growth("classes", _ORGANS, bank_plot),
    "questions": Growth("organs", _ORGANS, questions),
    "replay": Growth("organs", _ORGANS, replay),
    "rules_magicnet": Growth("voxels a side", _SIDES, rules_magicnet),
    "phantom": Growth("voxels a side", _SIDES, phantom),
}


def main(name: str, size: int) -> None:
    """Do the work once, and print its costs as a line of JSON."""
    with tempfile.TemporaryDirectory() as folder:
        work = GROWTHS[name].prepare(size, Path(folder))
        begin = time.process_time()
        more = work()
        costs = {"cpu_s": time.process_time() - begin}
    costs["peak_gib"] = peak_gib()
    print(json.dumps(costs | (more or {})))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
