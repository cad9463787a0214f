"""The shipped protocols, and the protocol label of prepared data."""

from collections.abc import Iterable
from pathlib import Path

from knowledge.common.digests import digest_of
from knowledge.common.suggest import unknown
from pipeline.files import shipped
from segmentation.data.checks import Bounds, check_volumes, read_bounds, volume_warning
from segmentation.data.descriptor import DatasetSpec
from segmentation.data.preparation import Prepared
from segmentation.data.protocol import Protocol, ProtocolLabel, claim_of
from segmentation.data.readers import Reader
from segmentation.data.shared_arrays import SharedArrays
from segmentation.evaluation.rules import RULES


def protocol_folder() -> Path:
    """The folder of the shipped protocols; not replaceable, so that names keep their meaning."""
    return shipped.reference("data") / "protocols"


def protocol_names() -> list[str]:
    """The names of the shipped protocols."""
    return sorted(path.stem for path in protocol_folder().glob("*.toml"))


def claimed(spec: DatasetSpec) -> Protocol | None:
    """The shipped protocol that a descriptor claims by name, or None."""
    if spec.protocol not in protocol_names():
        return None
    return Protocol.read(protocol_folder() / f"{spec.protocol}.toml")


def organ_bounds() -> dict[str, Bounds]:
    """The shipped bounds of organ volumes, see `segmentation.data.checks`."""
    return read_bounds(shipped.reference("data") / "anatomy" / "volumes.toml")


def volume_warnings(prepared: Prepared, reader: Reader) -> list[str]:
    """Warnings about organ volumes: the spacing of arrays, or the headers of files."""
    if isinstance(reader, SharedArrays):
        if reader.spacing_mm is None:
            return []
        warning = volume_warning(reader.volumes_ml, reader.spacing_mm, organ_bounds())
        return [warning] if warning else []
    known = {case: record for case, record in prepared.cases.items() if record.get("volumes_ml")}
    issues = check_volumes(
        {case: record["volumes_ml"] for case, record in known.items()},
        {case: record["source_spacing_mm"] for case, record in known.items()},
        organ_bounds(),
    )
    return [issue.text for issue in issues]


def data_digest(prepared: Prepared) -> str:
    """Digest of preparation and split; a resumed run must find the same."""
    parts = {part: sorted(cases) for part, cases in prepared.split.parts().items()}
    return digest_of([prepared.spec.digest, parts])


def case_marks(names: Iterable[str]) -> list[str]:
    """Names of cases as short digests, which can be compared but not read."""
    return sorted(digest_of(name)[:16] for name in names)


def claim_of_data(prepared: Prepared) -> ProtocolLabel:
    """The protocol label of prepared data, with every deviation from the protocol."""
    return claim_of(prepared.spec, prepared.split, claimed(prepared.spec))


def rules_for(name: str, spec: DatasetSpec) -> str:
    """The name of metric rules; `published` stands for those of the data set's protocol.

    Raises:
        LookupError: no such rules, or `published` for a protocol that is not a shipped one.
    """
    known = [rules.name for rules in RULES]
    if name == "published":
        protocol = claimed(spec)
        if protocol is None:
            raise LookupError(
                f"--rules published: the protocol {spec.protocol} of {spec.name} is no published "
                f"one ({', '.join(protocol_names())}); name the rules: {', '.join(known)}"
            )
        return protocol.rules
    if name not in known:
        raise LookupError(unknown("metric rules", name, ("published", *known)))
    return name
