"""How many pseudo-labels of a trained network claims ignore, and how many of those are wrong.

    python -m tests.benchmarks.claim_filter --claims descriptions.json PREPARED RUN ...

Where the ignored labels are no more often wrong than all of them are, a filter has nothing to give.
Relations are chosen on the labeled cases as a training with `relations.filter` does it; labels are
those of the run's network on random patches of the test cases, whose truth is known.
"""

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.config.recipe import RunConfig
from pipeline.runs.open_model import open_model
from pipeline.runs.relations import as_relations, relations_of_run
from segmentation.data.preparation import Prepared, load_prepared
from segmentation.losses import most_probable
from segmentation.relations import ClaimFilter
from tests.benchmarks.relation_violations import test_patches

SOURCES = ("claims", "mirrored", "shuffled", "geometry")


def with_filter(config: RunConfig, source: str, claims: Path, share: float) -> RunConfig:
    """The configuration with a filter of claims in place of its relations."""
    content = config.model_dump()
    content["relations"] = {"filter": share, "source": source, "claims": str(claims)}
    return RunConfig.model_validate(content)


def percent(part: Tensor, whole: Tensor) -> float:
    """Share of true values in percent, 0 of nothing."""
    return round(100 * float(part.sum()) / max(int(whole.sum()), 1), 3)


def measure(run: Path, prepared: Prepared, options: argparse.Namespace) -> dict[str, object]:
    """Ignored labels of a run's network and of the truth, per source of relations."""
    model = open_model(
        run,
        checkpoint=options.checkpoint,
        predictor=options.predictor,
        device=torch.device("cpu"),
    )
    with torch.inference_mode():
        patches = [
            (label, model.network(image).logits.softmax(1))
            for image, label in test_patches(model.config, prepared, options.patches)
        ]
    truth = torch.cat([label for label, _ in patches])
    probabilities = torch.cat([each for _, each in patches])
    label = most_probable(probabilities)
    organ, wrong = label > 0, (label > 0) & (label != truth)
    record: dict[str, object] = {
        "run": str(run),
        "step": model.step,
        "predictor": model.predictor,
        "labels of organs": int(organ.sum()),
        "wrong, %": percent(wrong, organ),
    }
    for source in SOURCES:
        config = with_filter(model.config, source, options.claims, options.share)
        chosen = relations_of_run(run, config, prepared, resume=False)
        keep = ClaimFilter(as_relations(chosen, prepared.spec.classes), share=options.share)
        mask = F.one_hot(truth, probabilities.shape[1]).movedim(-1, 1).float()
        ignored = ~keep(label, probabilities)
        record[source] = {
            "relations": 0 if chosen is None else len(chosen.used),
            "true labels ignored, %": percent(~keep(truth, mask), truth > 0),
            "ignored, %": percent(ignored, organ),
            "wrong of the ignored, %": percent(ignored & wrong, ignored),
            "ignored of the wrong, %": percent(ignored & wrong, wrong),
        }
    return record


def main() -> None:
    """Print a JSON record per run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prepared", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--claims", type=Path, required=True, help="description set")
    parser.add_argument("--share", type=float, default=0.9, help="relations.filter")
    parser.add_argument("--checkpoint", choices=["best", "last"], default="last")
    parser.add_argument("--predictor", help="network of the method; default: its first")
    parser.add_argument("--patches", type=int, default=200)
    options = parser.parse_args()
    prepared = load_prepared(options.prepared)
    for run in options.runs:
        print(json.dumps(measure(run, prepared, options), indent=1))


if __name__ == "__main__":
    main()
