"""What the report reads from evaluations: means of cases, the cases worth looking at."""

from pipeline.scoring.evaluation import Evaluation
from segmentation.evaluation.metrics import nan_mean


def mean_of_case(evaluation: Evaluation, case: str) -> float:
    """Mean Dice of a case over its scored organs."""
    return nan_mean([scores["dice"] for scores in evaluation.cases[case].values()])


def ranked(evaluation: Evaluation) -> dict[str, str]:
    """The best, the median and the worst case by mean Dice: rank -> case, fewer if there are fewer.

    Among an even number the lower of the two middle ones is the median.
    """
    order = sorted(
        (case for case in evaluation.cases if mean_of_case(evaluation, case) >= 0),
        key=lambda case: (-mean_of_case(evaluation, case), case),
    )
    places = {"best": 0, "worst": len(order) - 1, "median": len(order) // 2}
    chosen: dict[str, str] = {}
    for rank, place in places.items():
        if order and order[place] not in chosen.values():
            chosen[rank] = order[place]
    return {rank: chosen[rank] for rank in ("best", "median", "worst") if rank in chosen}
