"""The house keeps standing: who imports whom, what is imported where, what a file may hold."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("knowledge", "segmentation", "pipeline")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
ALLOWED = {
    "knowledge": {"knowledge"},
    "segmentation": {"segmentation"},
    "pipeline": set(PACKAGES),
}
HOME = {
    "openai": {"knowledge/providers/base/chat.py"},
    "open_clip": {"knowledge/encoders/openclip.py"},
    "transformers": {"knowledge/encoders/transformer.py"},
    "mlflow": {"segmentation/training/trackers.py"},
    "wandb": {"segmentation/training/trackers.py"},
    "pyvista": {"knowledge/questions/rendering.py"},
    "highdicom": {"segmentation/inference/dicom_seg.py"},
    "pydicom": {
        "segmentation/imaging/dicom.py",
        "segmentation/imaging/dicom_files.py",
        "segmentation/imaging/dicom_frames.py",
        "segmentation/inference/dicom_seg.py",
    },
}


def imports(path):
    """(top-level name, whether at module level) of every import in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.partition(".")[0], id(node) in top
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield (node.module or "").partition(".")[0], id(node) in top


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way_and_heavy_ones_live_in_one_file(path):
    package = path.relative_to(ROOT).parts[0]
    for name, _ in imports(path):
        if name in PACKAGES:
            assert name in ALLOWED[package], f"{path} imports {name}"
        if name in HOME:
            assert str(path.relative_to(ROOT)) in HOME[name], f"{path} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_has_one_subject_and_a_docstring(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 350, "two subjects?"
    assert ast.get_docstring(ast.parse(text)), "what is it?"


def public(node):
    """Public functions and classes of a module, and the public methods of those classes."""
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.ClassDef) and not child.name.startswith("_"):
            yield child
            if isinstance(child, ast.ClassDef):
                yield from public(child)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_names_are_documented(path):
    for node in public(ast.parse(path.read_text(encoding="utf-8"))):
        assert ast.get_docstring(node), f"{path}:{node.lineno} {node.name}"


def test_help_needs_no_heavy_library():
    code = (
        "import sys; from pipeline.cli import app; "
        "heavy = {'torch', 'numpy', 'h5py', 'openai', 'transformers', 'monai', 'pyvista', "
        "'nibabel', 'scipy', 'matplotlib', 'pydantic'} & set(sys.modules); "
        "print(', '.join(sorted(heavy)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "", "imported on the way to --help"


def test_no_organ_is_typed_into_code():
    import tomllib

    organs = tomllib.loads((ROOT / "data" / "amos.toml").read_text())["organs"]
    names = {organ["name"] for organ in organs} - {"bladder"}  # a word of other names as well
    drawn = [ROOT / "segmentation" / name for name in ("anatomy", "phantom")]
    for path in (path for path in FILES if path.parent not in drawn):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docs = {id(n.body[0].value) for n in ast.walk(tree)
                if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)
                and n.body and isinstance(n.body[0], ast.Expr)}  # fmt: skip
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and node.value in names and id(node) not in docs:
                raise AssertionError(f"{path}:{node.lineno} knows the organ {node.value!r}")
