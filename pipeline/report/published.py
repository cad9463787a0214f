"""The published numbers that may stand beside a result: same protocol, split, part and rules."""

from dataclasses import dataclass, field

from pipeline.scoring.evaluation import GROUPS, Evaluation
from pipeline.scoring.published import Setting, chosen_methods, published_notes, settings


@dataclass(frozen=True)
class Published:
    """Dice in [0, 1] by method, then by organ or group; empty where there is nothing to show.

    Attributes:
        why_none: what stands in the way, in words.
        notes: where the numbers are from and what is doubtful about them.
    """

    methods: dict[str, dict[str, float]] = field(default_factory=dict)
    why_none: str = ""
    notes: tuple[str, ...] = ()


def published_beside(evaluation: Evaluation | None) -> Published:
    """Published numbers for a result: those of GA and TAK and of the best of the others."""
    if evaluation is None:
        return Published(why_none="Published numbers are shown beside scores, and there are none.")
    wanted = (evaluation.protocol, evaluation.split)
    near = [one for one in settings() if (one.protocol, one.split) == wanted]
    for setting in near:
        if (setting.part, setting.rules) == (evaluation.part, evaluation.rules):
            methods = chosen_methods(setting, "published")
            return Published(
                {name: _rows(setting, name) for name in methods}, "", published_notes()
            )
    return Published(why_none=_why_none(evaluation, near))


def _rows(setting: Setting, method: str) -> dict[str, float]:
    return setting.methods[method] | {group: setting.means[method][group] for group in GROUPS}


def _why_none(evaluation: Evaluation, near: list[Setting]) -> str:
    if not near:
        split = f", split {evaluation.split}" if evaluation.split else ""
        return (
            f"No published numbers for the protocol {evaluation.protocol}{split}; numbers of other "
            "protocols are not comparable and are not shown."
        )
    known = "; ".join(f"the part {one.part} by the rules {one.rules}" for one in near)
    return (
        f"Published numbers for {evaluation.protocol} {evaluation.split} are of {known}, this "
        f"result is of the part {evaluation.part} by the rules {evaluation.rules}: `tak evaluate "
        "--rules published`, then `tak report --rules published`."
    )
