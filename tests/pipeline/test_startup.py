"""Heavy libraries that each command imports: only those that it uses, since they take seconds."""

import subprocess
import sys

import pytest

from tests.support.paths import SUPPORT

SAVED = SUPPORT / "saved"
HEAVY = {
    "highdicom", "matplotlib", "monai", "openai", "pandas", "pyvista", "scipy.stats",
    "sentence_transformers", "SimpleITK", "sklearn", "tensorboard", "torch", "torch._dynamo",
    "transformers",
}  # fmt: skip
CODE = """
import sys
from pipeline.cli import app
app(sys.argv[1:], standalone_mode=False)
print("imported:", *sys.modules)
"""


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        ("predict run SCAN -o mask.nii.gz --device cpu", {"torch"}),
        ("evaluate run prepared -o scores --device cpu", {"torch"}),
        ("evaluate run prepared -o scores --device cpu --rules magicnet", {"torch"}),
        ("bundle run -o model.zip", {"torch"}),
        ("compare run run", {"torch", "scipy.stats"}),
        ("bank inspect bank.h5", set()),
        ("describe phantom --provider recorded -o descriptions.json", set()),
    ],
)
def test_a_command_imports_what_it_uses(command, needed, tmp_path):
    from nibabel import Nifti1Image, save
    from numpy import diag, int16, zeros

    save(Nifti1Image(zeros((9, 8, 7), int16), diag([20, 20, 20, 1])), tmp_path / "ct.nii.gz")
    for path in SAVED.iterdir():
        (tmp_path / path.name).symlink_to(path)
    words = [str(tmp_path / "ct.nii.gz") if word == "SCAN" else word for word in command.split()]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *words], cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    imported = set(done.stdout.rpartition("imported:")[2].split())
    assert imported & HEAVY <= needed
