"""Relations for a loss or a filter: claims of a description set, selected on labeled cases."""

import random
from pathlib import Path
from typing import Any

from knowledge.common.files import read_json, write_whole
from knowledge.common.models import Strict
from knowledge.descriptions import DescriptionSet
from pipeline.config.recipe import RelationsConfig, RunConfig
from pipeline.files.kinds import require_kind
from pipeline.runs.folder import RunFolder
from segmentation.data.preparation import Prepared
from segmentation.relations import AXES, Relation
from segmentation.training.patches import PatchStream
from segmentation.training.relation_limits import Tested, measure_relations

_SEED = 0  # of the tested patches and of exchanged organs, the same in every run of a study
_MORE = {0: "right_of", 1: "anterior_to", 2: "superior_to"}


class UsedRelation(Strict):
    """A relation of loss or filter: `organ` `relation` `other`, with its limit and weight."""

    organ: str
    relation: str
    other: str
    allowed: float
    weight: float


class LeftOut(Strict):
    """A claim that is not used, with its patches of both organs and its mean violation."""

    claim: str
    patches: int
    mean: float | None


class RunRelations(Strict):
    """`relations.json` of a run: relations that are used, and claims that were left out."""

    used: tuple[UsedRelation, ...]
    left_out: tuple[LeftOut, ...] = ()


def relations_of_run(
    folder: Path, config: RunConfig, prepared: Prepared, *, resume: bool
) -> RunRelations | None:
    """The relations of a run: those of its folder if resumed, else tested on labeled cases.

    Raises:
        ValueError: no relation holds in labeled patches, or none so surely as a filter needs it.
    """
    options = config.relations
    if not options.used:
        return None
    path = RunFolder(folder).relations
    if resume and path.is_file():
        return read_json(path, RunRelations)
    classes = prepared.spec.classes
    tested = measure_relations(
        _labeled_stream(config, prepared),
        _candidates(options, classes),
        classes=len(classes),
        steps=options.tested_steps,
        margin=options.margin,
        least=options.least,
    )
    holding = [each for each in tested if each.holds]
    sure = [each for each in tested if each.sure]
    for key, found, how in (("weight", holding, "holds"), ("filter", sure, "holds surely")):
        if getattr(options, key) and not found:
            raise ValueError(
                f"relations: none of {len(tested)} relations {how} in labeled patches of "
                f"{list(config.training.patch)} voxels; larger patches, or relations.{key} = 0"
            )
    chosen = holding if options.weight else sure
    return RunRelations(
        used=tuple(_named(each, classes) for each in _controlled(options, chosen)),
        left_out=tuple(_left_out(each, classes) for each in tested if each not in chosen),
    )


def as_relations(record: RunRelations | None, classes: tuple[str, ...]) -> tuple[Relation, ...]:
    """The relations of a record by class index."""
    used = () if record is None else record.used
    return tuple(
        _relation(each.organ, each.relation, each.other, classes)._replace(
            allowed=each.allowed, weight=each.weight
        )
        for each in used
    )


def write_relations(folder: Path, record: RunRelations) -> None:
    """Write the relations to the folder of the run."""
    write_whole(RunFolder(folder).relations, record.model_dump_json(indent=1) + "\n")


def summary(record: RunRelations | None) -> dict[str, Any]:
    """Numbers of relations for the first record of the log; empty without relations."""
    if record is None:
        return {}
    return {"relations": {"used": len(record.used), "left_out": len(record.left_out)}}


def _candidates(options: RelationsConfig, classes: tuple[str, ...]) -> list[Relation]:
    """Directional relations between classes, each once, in a fixed order."""
    organs = range(1, len(classes))
    if options.source == "geometry":
        return [Relation(a, b, axis) for axis in range(3) for a in organs for b in organs if a != b]
    assert options.claims is not None  # checked with the recipe
    path = require_kind(Path(options.claims), "descriptions")
    descriptions = read_json(path, DescriptionSet)
    claims = (claim for item in descriptions.descriptions for claim in item.claims)
    known = {
        _relation(claim.organ, claim.relation, claim.other, classes)
        for claim in claims
        if claim.relation in AXES and {claim.organ, claim.other} <= set(classes)
    }
    if not known:
        raise ValueError(f"{path}: no directional claim about two organs of this data set")
    return sorted(known)


def _relation(organ: str, relation: str, other: str, classes: tuple[str, ...]) -> Relation:
    axis, larger = AXES[relation]
    high, low = (organ, other) if larger else (other, organ)
    return Relation(classes.index(high), classes.index(low), axis)


def _controlled(options: RelationsConfig, holding: list[Tested]) -> list[Relation]:
    """The relations of the run; a control keeps limits and weights of those that hold."""
    usable = [each.usable for each in holding]
    if options.source == "mirrored":
        return [each._replace(high=each.low, low=each.high) for each in usable]
    if options.source == "shuffled":
        organs = sorted({organ for each in usable for organ in (each.high, each.low)})
        order = random.Random(_SEED).sample(organs, len(organs))
        # A cycle through a random order, so that no organ stays in place.
        other = dict(zip(order, [*order[1:], order[0]], strict=True))
        return [each._replace(high=other[each.high], low=other[each.low]) for each in usable]
    return usable


def _named(relation: Relation, classes: tuple[str, ...]) -> UsedRelation:
    return UsedRelation(
        organ=classes[relation.high],
        relation=_MORE[relation.axis],
        other=classes[relation.low],
        allowed=round(relation.allowed, 6),
        weight=round(relation.weight, 6),
    )


def _left_out(tested: Tested, classes: tuple[str, ...]) -> LeftOut:
    relation = tested.relation
    name = f"{classes[relation.high]} {_MORE[relation.axis]} {classes[relation.low]}"
    mean = None if tested.mean != tested.mean else round(tested.mean, 6)
    return LeftOut(claim=name, patches=tested.patches, mean=mean)


def _labeled_stream(config: RunConfig, prepared: Prepared) -> PatchStream:
    return PatchStream(
        [prepared.file(case) for case in prepared.split.labeled],
        [],
        patch=config.training.patch,
        labeled_per_step=config.training.labeled_per_step,
        unlabeled_per_step=0,
        seed=_SEED,
        cached_cases=0,
    )
