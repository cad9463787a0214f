import hashlib

import pytest

from segmentation.data.descriptor import DatasetSpec, Grid, Split
from segmentation.data.protocol import Protocol, claim_of
from segmentation.data.split import list_digest
from segmentation.evaluation.rules import named
from tests.support.paths import DATA

PAIRS = {  # protocol -> descriptor
    "amos-ga": "amos",
    "amos-dhc": "amos-dhc",
    "synapse-ga": "synapse",
    "synapse-dhc": "synapse-dhc",
}


def protocol(name):
    return Protocol.read(DATA / "protocols" / f"{name}.toml")


def spec(name):
    return DatasetSpec.read(DATA / f"{name}.toml")


@pytest.mark.parametrize("name", PAIRS)
def test_shipped_descriptors_keep_the_protocol_that_they_claim(name):
    pinned, descriptor = protocol(name), spec(PAIRS[name])
    assert descriptor.protocol == pinned.name == name
    assert pinned.departures(descriptor) == {}
    assert tuple(pinned.splits) == descriptor.split_names
    for split in descriptor.split_names:
        claim = claim_of(descriptor, descriptor.split(split), pinned)
        assert (claim.protocol, claim.split, claim.departures) == (name, split, ())
    assert named(pinned.rules)


@pytest.mark.parametrize("name", PAIRS)
def test_every_pinned_list_is_the_digest_of_sorted_lines(name):
    descriptor = spec(PAIRS[name])
    for split, lists in protocol(name).splits.items():
        for part, digest in lists.model_dump().items():
            cases = sorted(descriptor.split(split).parts()[part])
            assert hashlib.sha256(("\n".join(cases) + "\n").encode()).hexdigest() == digest


def test_both_sets_of_synapse_lists_are_whole_and_share_no_test_case_by_chance():
    descriptor = spec("synapse-dhc")
    now, before = descriptor.split("20p"), descriptor.split("20p-2023")
    assert set(now.cases) == set(before.cases)
    assert len(now.cases) == 30
    assert set(now.test) == {"0008", "0027", "0029", "0033", "0037", "0039"}
    assert set(before.test) == {"0004", "0007", "0010", "0033", "0035", "0036"}
    assert len(set(now.test) & set(before.train)) == 5
    assert before == spec("synapse").split("20p")


def test_the_order_of_a_list_does_not_matter_and_its_cases_do():
    assert list_digest(["b", "a"]) == list_digest(["a", "b"])
    assert list_digest(["a", "b"]) != list_digest(["ab"])


@pytest.mark.parametrize(
    ("change", "label", "told"),
    [
        ({"window_hu": (-75, 275)}, "own window", "window -75 to 275 HU where amos-ga has -125 to"),
        ({"scaling": "volume"}, "own scaling", "scaling volume where amos-ga has window"),
        ({"grid": Grid(shape=(160, 160, 80))}, "own grid", "grid 160 x 160 x 80 voxels where"),
    ],
)
def test_what_departs_from_a_protocol_does_not_carry_its_name(change, label, told):
    descriptor = spec("amos")
    changed = descriptor.model_copy(update=change)
    claim = claim_of(changed, descriptor.split("5p"), protocol("amos-ga"))
    assert claim.protocol == f"amos-ga, {label}"
    assert claim.departures[0].startswith(told)


def test_organs_in_another_order_are_other_organs():
    claim = claim_of(spec("synapse"), spec("amos").split("5p"), protocol("amos-ga"))
    assert claim.protocol == "amos-ga, own organs"


def test_lists_of_ones_own_are_named_by_their_digest():
    descriptor = spec("amos")
    split = descriptor.split("5p")
    own = Split.derive(split.train, split.labeled[:3], split.validation, split.test)
    changed = descriptor.model_copy(update={"window_hu": (-100, 200)})
    claim = claim_of(changed, own, protocol("amos-ga"), {"training cases": "of last year"})
    assert claim.protocol == "amos-ga, own window, split and training cases"
    assert claim.split.startswith("own-")
    assert claim.departures[1:] == (
        "lists of cases that are none of amos-ga's (2p, 5p, 10p)",
        "of last year",
    )
    assert claim_of(descriptor, own, protocol("amos-ga")).split == claim.split
    turned = Split.derive(split.train, split.labeled[:2], split.validation, split.test)
    assert claim_of(descriptor, turned, protocol("amos-ga")).split != claim.split


def test_arrays_that_the_authors_hand_out_are_the_protocol():
    descriptor = spec("amos")
    shared = descriptor.model_copy(update={"layout": "npy-ga", "grid": Grid(shrink=(1, 1, 1))})
    claim = claim_of(shared, descriptor.split("2p"), protocol("amos-ga"))
    assert claim.protocol == "amos-ga"
    foreign = shared.model_copy(update={"layout": "npy-dhc"})
    claim = claim_of(foreign, descriptor.split("2p"), protocol("amos-ga"))
    assert claim.protocol == "amos-ga, own grid"


@pytest.mark.parametrize(
    ("name", "change", "label"),
    [
        ("amos-ga", {"window_hu": (-500, 500)}, "amos-ga, own window"),
        ("amos-ga", {"scaling": "volume"}, "amos-ga, own scaling"),
        ("amos-ga", {"grid": Grid(shrink=(2, 2, 1))}, "amos-ga, own grid"),
        ("synapse-dhc", {"grid": Grid(spacing_mm=(1, 1, 1))}, "synapse-dhc, own grid"),
        ("synapse-ga", {"scaling": "stored", "window_hu": (0, 1)}, "synapse-ga"),
    ],
)
def test_what_is_done_to_the_authors_arrays_here_has_to_be_the_protocol_s(name, change, label):
    descriptor, pinned = spec(PAIRS[name]), protocol(name)
    shared = descriptor.model_copy(update={"layout": pinned.shared, **change})
    split = descriptor.split(descriptor.split_names[0])
    assert claim_of(shared, split, pinned).protocol == label


def test_a_name_that_nobody_pinned_stands_for_what_the_descriptor_says():
    descriptor = spec("phantom").model_copy(update={"window_hu": (0, 1)})
    claim = claim_of(descriptor, spec("amos").split("2p"), None)
    assert (claim.protocol, claim.departures) == ("phantom", ())
    claim = claim_of(descriptor, spec("amos").split("2p"), None, {"training cases": "of another"})
    assert claim.protocol == "phantom, own training cases"
    assert claim.departures == ("of another",)


def test_a_protocol_file_with_a_mistake_names_file_and_key(tmp_path):
    text = (DATA / "protocols" / "amos-ga.toml").read_text()
    path = tmp_path / "own.toml"
    path.write_text(text.replace('blend = "constant"', 'blend = "flat"'))
    with pytest.raises(ValueError, match=r"own\.toml: blend: Input should be 'constant'"):
        Protocol.read(path)
    path.write_text(text.replace("stride = ", "strid = "))
    with pytest.raises(ValueError, match=r"own\.toml: .*strid: unknown key"):
        Protocol.read(path)
