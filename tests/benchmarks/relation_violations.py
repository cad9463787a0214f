"""How often trained networks violate relations that hold in the labeled cases.

    python -m tests.benchmarks.relation_violations --claims descriptions.json PREPARED RUN ...

Where networks hardly ever violate them, a loss on relations has nothing to give. Relations are
chosen and limited as a training with `[relations]` does it; the networks, and the truth for
comparison, are then looked at on random patches of the test cases.
"""

import argparse
import json
from pathlib import Path

import torch
from torch.nn import functional as F

from pipeline.config.recipe import RunConfig
from pipeline.runs.open_model import open_model
from pipeline.runs.relations import as_relations, relations_of_run
from segmentation.data.preparation import Prepared, load_prepared
from segmentation.relations import Relation, violations
from segmentation.training.patches import PatchStream

SEED = 7
LEAST = 8.0  # voxels of an organ in a patch, as the default of [relations]


def with_relations(config: RunConfig, claims: Path | None) -> RunConfig:
    """The configuration with relations switched on; all measured orderings without claims."""
    source = {"source": "geometry"} if claims is None else {"claims": str(claims)}
    content = config.model_dump() | {"relations": {"weight": 1.0, **source}}
    content["training"] |= {"unlabeled_per_step": 2}  # needed by the table, not by this program
    return RunConfig.model_validate(content)


def test_patches(config: RunConfig, prepared: Prepared, patches: int):
    """Image [1, 1, x, y, z] and label [1, x, y, z] of random patches of the test cases."""
    stream = PatchStream(
        [prepared.file(case) for case in prepared.split.test],
        [],
        patch=config.training.patch,
        labeled_per_step=1,
        unlabeled_per_step=0,
        seed=SEED,
    )
    for step in range(patches):
        batch = stream[step]
        yield batch.image, batch.label


def summary(masses: list[torch.Tensor], relations: tuple[Relation, ...]) -> dict[str, float]:
    """Pairs of patch and relation that count, and how many of them are violated, in %."""
    allowed = torch.tensor([each.allowed for each in relations])
    results = [violations(mass, relations, least=LEAST) for mass in masses]
    values = torch.cat([each.values for each in results])
    counted = torch.cat([each.counted for each in results])
    beyond = (values > allowed + 1e-6) & counted
    reversed_ = (values > 0.5) & counted
    count = int(counted.sum())
    return {
        "pairs": count,
        "mean violation": round(float(values[counted].mean()), 4),
        "beyond the limit, %": round(100 * float(beyond.sum()) / count, 2),
        "reversed, %": round(100 * float(reversed_.sum()) / count, 2),
    }


def measure(run: Path, prepared: Prepared, claims: Path | None, patches: int) -> dict[str, object]:
    """Violations of a run's network, by soft and by confident probabilities, and of the truth."""
    model = open_model(run, device=torch.device("cpu"))
    config = with_relations(model.config, claims)
    record = relations_of_run(run, config, prepared, resume=False)
    assert record is not None
    relations = as_relations(record, prepared.spec.classes)
    masses: dict[str, list[torch.Tensor]] = {"truth": [], "all voxels": [], "above 0.5": []}
    with torch.inference_mode():
        for image, label in test_patches(config, prepared, patches):
            soft = model.network(image).logits.softmax(1)
            mask = F.one_hot(label, len(prepared.spec.classes)).permute(0, 4, 1, 2, 3).float()
            masses["truth"].append(mask)
            masses["all voxels"].append(soft)
            masses["above 0.5"].append(soft * (soft > 0.5))
    return {
        "run": str(run),
        "step": model.step,
        "relations": len(relations),
        **{name: summary(each, relations) for name, each in masses.items()},
    }


def main() -> None:
    """Print a JSON record per run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prepared", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--claims", type=Path, help="description set; default: all orderings")
    parser.add_argument("--patches", type=int, default=200)
    options = parser.parse_args()
    prepared = load_prepared(options.prepared)
    for run in options.runs:
        print(json.dumps(measure(run, prepared, options.claims, options.patches), indent=1))


if __name__ == "__main__":
    main()
