"""Damaged and hostile banks and tensors: one clear line, never a crash, hang or much memory."""

import io
import json
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from knowledge.bank.bank import Bank
from knowledge.bank.heaps import Heaps
from knowledge.bank.items import printable
from knowledge.bank.tensors import import_tensor
from tests.support.paths import ROOT

SAVED = ROOT / "tests" / "support" / "saved" / "bank.h5"
# Reads each file of standard input under limits of time and memory, and prints one line for it.
READER = """
import resource, signal, sys
from pathlib import Path
from knowledge.bank.bank import Bank
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
for line in sys.stdin:
    signal.alarm(20)
    try:
        Bank.read(Path(line.strip()))
        print("valid", flush=True)
    except ValueError as error:
        print("refused", repr(str(error)), flush=True)
    except Exception as error:
        print("fault", type(error).__name__, error, flush=True)
"""


def damaged(content: bytes, count: int, seed: int) -> list[bytes]:
    """Truncations, flipped bits, absurd numbers and noise in a valid file."""
    draw = random.Random(seed)
    results = []
    for number in range(count):
        changed = bytearray(content)
        place = draw.randrange(len(content) - 16)
        if number % 4 == 0:
            changed = changed[:place]
        elif number % 4 == 1:
            for _ in range(draw.choice([1, 2, 8])):
                changed[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        elif number % 4 == 2:
            absurd = [b"\xff" * 8, bytes(8), (2**40).to_bytes(8, "little")]
            changed[place : place + 8] = draw.choice(absurd)
        else:
            changed[place : place + 16] = draw.randbytes(16)
        results.append(bytes(changed))
    return results


def test_damaged_banks_are_refused_in_one_line_without_crash_or_hang(tmp_path: Path) -> None:
    files = []
    for number, content in enumerate(damaged(SAVED.read_bytes(), 60, seed=7)):
        files.append(tmp_path / f"{number}.h5")
        files[-1].write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", READER],
        input="\n".join(map(str, files)),
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(files), f"died of {files[len(lines)]}: {done.stderr[-500:]}"
    for file, line in zip(files, lines, strict=True):
        assert line.split()[0] in ("valid", "refused"), f"{file}: {line}"
        assert line == "valid" or (str(file) in line and len(line) < 600), line
    assert lines.count("valid") < 30


def edit(path: Path, name: str, make) -> Path:
    """The saved bank with one item made anew by `make(file, name)`."""
    path.write_bytes(SAVED.read_bytes())
    with h5py.File(path, "r+") as file:
        if name in file:
            del file[name]
        make(file, name)
    return path


def test_a_replaced_attribute_is_no_damage(tmp_path) -> None:
    path = edit(tmp_path / "bank.h5", "origin", attribute(json.dumps({"kind": "long " * 900})))
    path = edit_again(path)
    assert Bank.read(path).encoder == "other"


def edit_again(path: Path) -> Path:
    with h5py.File(path, "r+") as file:
        file.attrs["encoder"] = "other"
    return path


def attribute(value):
    def make(file, name):
        file.attrs[name] = value

    return make


def dataset(*arguments, **options):
    return lambda file, name: file.create_dataset(name, *arguments, **options)


WORDS = h5py.string_dtype("utf-8")


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("vectors", lambda file, name: None, "vectors is missing"),
        ("vectors", lambda file, name: file.create_group(name), "expected a dataset, got a group"),
        ("vectors", dataset(data=np.zeros((2, 2), "f4")), r"expected 3 axes, got shape \(2, 2\)"),
        ("vectors", dataset(data=np.zeros((14, 2, 8), "i4")), "expected floating-point numbers"),
        ("vectors", dataset((14, 2, 2**40), "f4", chunks=(1, 1, 8)), "takes more than 512 MiB"),
        ("vectors", dataset((14, 2, 8), "f4"), "declared, but never written"),
        ("vectors", dataset(data=h5py.Empty("f4")), "expected 3 axes, got shape None"),
        ("vectors", dataset(data=np.full((14, 2, 16), np.nan, "f4")), "vectors must be finite"),
        ("classes", dataset(data=np.arange(14)), "classes: expected strings"),
        ("classes", dataset(data=["a"] * 14, dtype=WORDS), "a class is named twice"),
        ("texts", dataset(data=[["a"]], dtype=WORDS), "texts must be 14 rows of 2"),
        ("texts", dataset((2**30, 2), WORDS, chunks=(1, 1)), "takes more than 512 MiB"),
        ("token_counts", dataset(data=np.full((14, 2), -1, "i4")), "must not be negative"),
        ("fingerprint", dataset(data=np.full((5, 16), np.inf, "f4")), "fingerprint must be finite"),
        (
            "vectors",
            lambda file, name: file.__setitem__(name, h5py.ExternalLink("other.h5", "vectors")),
            "vectors is missing, or a link",
        ),
        (
            "vectors",
            lambda file, name: file.create_dataset(
                name, (14, 2, 8), "f4", external=[("/etc/passwd", 0, 896)]
            ),
            "stored in another file",
        ),
        ("origin", attribute("[" * 100_000), "origin is not valid JSON"),
        ("origin", attribute("[]"), "expected a JSON object"),
        ("origin", attribute('{"like": "x"}'), "a control names its kind"),
        ("origin", attribute(1.5), "attribute origin: expected str, got float64"),
        ("encoder", attribute([1, 2]), r"expected one value, got shape \(2,\)"),
        ("encoder", lambda file, name: file.attrs.__delitem__(name), "encoder is missing"),
        ("token_limit", attribute("many"), "expected int, got object"),
        ("format_version", attribute(2**62), "update tak-seg"),
        ("format", attribute("other"), "not a bank"),
    ],
)
def test_items_of_another_kind_shape_or_size_are_named(tmp_path, name, make, message) -> None:
    path = edit(tmp_path / "bank.h5", name, make)
    with pytest.raises(ValueError, match=message) as caught:
        Bank.read(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_sound_heaps_pass_and_one_beyond_the_end_of_the_file_does_not() -> None:
    content = SAVED.read_bytes()
    assert Heaps(content).string_attributes == 6
    with pytest.raises(ValueError, match="damaged"):
        Heaps(content.replace(b"GCOL\x01\x00\x00\x00\x00\x10", b"GCOL\x01\x00\x00\x00\xff\xff"))


CLASSES = tuple("abcde")


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.full((5, 4), torch.nan), "must be finite"),
        (torch.zeros(5, 4, dtype=torch.int64), "dense tensor of floating-point numbers, got"),
        (torch.zeros(5, 4, dtype=torch.complex64), "dense tensor of floating-point numbers"),
        (torch.eye(5).to_sparse(), "dense tensor|not a file of plain tensors"),
        (torch.zeros(1, 1).expand(5, 2**40), "takes more than 512 MiB"),
        (torch.zeros(5), r"a tensor of shape \(5,\)"),
        ([torch.zeros(5, 4)], "holds no tensor"),
    ],
)
def test_tensors_of_another_kind_are_refused(tmp_path, tensor, message) -> None:
    torch.save(tensor, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=message) as caught:
        import_tensor(tmp_path / "x.pth", CLASSES, ("name",))
    assert "x.pth" in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("legacy", [False, True])
def test_damaged_tensors_are_refused_in_one_line(tmp_path, legacy) -> None:
    buffer = io.BytesIO()
    torch.save(torch.randn(5, 8), buffer, _use_new_zipfile_serialization=not legacy)
    path = tmp_path / "x.pth"
    refused = 0
    for content in damaged(buffer.getvalue(), 60, seed=3):
        path.write_bytes(content)
        message = ""
        try:
            import_tensor(path, CLASSES, ("name",))
        except ValueError as error:
            message = str(error)
            refused += 1
        assert not message or ("x.pth" in message and len(message) < 500)
    assert refused > 20


def test_an_archive_that_unpacks_to_gigabytes_is_refused_unread(tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("x/data/0", "w", force_zip64=True) as record:
            for _ in range(1100):
                record.write(bytes(2**20))
        archive.writestr("x/data.pkl", json.dumps({}))
    with pytest.raises(ValueError, match="takes more than 1024 MiB"):
        import_tensor(tmp_path / "x.pth", CLASSES, ("name",))


def test_a_printed_value_is_one_short_line_without_control_characters() -> None:
    assert printable("a\x1b[31m\u202eb\nc") == "a\\x1b[31m\\u202eb c"
    assert len(printable("x" * 100_000)) < 400
