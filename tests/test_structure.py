"""The structure of the code: who imports whom, what is imported where, how large folders are.

`docs/architecture.md` shows the same as a tree.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tested_by import TESTED_BY

ROOT = Path(__file__).parents[1]
PACKAGES = ("knowledge", "segmentation", "pipeline")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
ALLOWED = {
    "knowledge": {"knowledge"},
    "segmentation": {"segmentation"},
    "pipeline": set(PACKAGES),
}
# Rooms of each package from the ground floor up. A room imports rooms of lower floors only.
FLOORS = {
    "knowledge": (
        ("common",),
        ("providers", "encoders"),
        ("descriptions",),
        ("questions", "grounding"),
        ("asking", "bank"),
        ("describe",),
    ),
    "segmentation": (
        ("common",),
        ("imaging", "anatomy", "evaluation", "losses", "networks", "relations"),
        ("data", "methods"),
        ("training", "inference", "phantom"),
    ),
    "pipeline": (
        ("startup", "files", "terminal", "results"),
        ("config", "pictures"),
        ("datasets",),
        ("runs",),
        ("prediction", "scoring", "texts"),
        ("experiments", "report"),
        ("commands",),
        ("cli",),
        ("__main__", "worker"),
    ),
}
LEVEL = {
    (package, room): level
    for package, floors in FLOORS.items()
    for level, rooms in enumerate(floors)
    for room in rooms
}
MOST_FILES = 14
ALIKE = {  # registries: every file is one choice of the same kind
    "knowledge/encoders",
    "knowledge/providers",
    "segmentation/methods",
    "segmentation/networks/heads",
    "segmentation/networks/alignments",
    "pipeline/commands",
}
HOME = {
    "openai": {"knowledge/providers/base/chat.py"},
    "open_clip": {"knowledge/encoders/openclip.py"},
    "transformers": {"knowledge/encoders/transformer.py"},
    "sentence_transformers": {
        "knowledge/encoders/base/sentence_model.py",
        "knowledge/encoders/transformer.py",
    },
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


def dotted(path):
    """The module of a file, `segmentation.data.split`."""
    return str(path.relative_to(ROOT))[:-3].replace("/", ".").removesuffix(".__init__")


MODULES = {dotted(path) for path in FILES}


def project_imports(path, *, nested=True):
    """(line, imported module) for every import from the project, submodules resolved."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if nested else tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES:
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                yield node.lineno, module if module in MODULES else node.module


def room_of(module):
    """(package, room) of a module; the room is the folder or file below the package."""
    package, _, rest = module.partition(".")
    return package, rest.partition(".")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_rooms_of_lower_floors_only(path):
    here = room_of(dotted(path))
    if here[1] == "":  # the package's own __init__ exports lazily from everywhere
        return
    assert here in LEVEL, f"{here[1]} stands on no floor of {here[0]}; add it to FLOORS"
    for line, module in project_imports(path):
        there = room_of(module)
        if there[0] == here[0] and there != here and there[1]:
            assert LEVEL[there] < LEVEL[here], f"{path}:{line} imports {module} from above"


def test_modules_do_not_import_each_other_in_a_circle():
    graph = {
        dotted(path): {module for _, module in project_imports(path)} - {dotted(path)}
        for path in FILES
        if path.name != "__init__.py"
    }
    done, path = set(), []

    def visit(module):
        if module in path:
            raise AssertionError(" -> ".join([*path[path.index(module) :], module]))
        if module in done or module not in graph:
            return
        path.append(module)
        for other in sorted(graph[module]):
            visit(other)
        path.pop()
        done.add(module)

    for module in sorted(graph):
        visit(module)


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in FILES}), ids=lambda path: str(path.relative_to(ROOT))
)
def test_a_folder_holds_few_unlike_files_and_says_what_is_in_it(folder):
    files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
    if str(folder.relative_to(ROOT)) not in ALIKE:
        assert len(files) <= MOST_FILES, "several subjects?"
    assert (folder / "__init__.py").is_file(), "a folder is a package that says what is in it"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_terminal_libraries_stay_in_commands_terminal_and_tables(path):
    place = path.relative_to(ROOT / path.relative_to(ROOT).parts[0])
    allowed = place.parts[0] in ("commands", "terminal", "cli.py") or path.name == "tables.py"
    if not allowed:
        libraries = {name for name, _ in imports(path)} & {"rich", "typer"}
        assert not libraries, f"{path} imports {', '.join(sorted(libraries))}"


def modules_named_in(folder):
    """Modules that the test files of one folder import or name."""
    names = set()
    for test in folder.glob("test_*.py"):
        text = test.read_text(encoding="utf-8")
        names |= {module for module in MODULES if module in text}
        names |= {module for _, module in project_imports(test)}
    return names


IMPORTS = {dotted(path): {module for _, module in project_imports(path)} for path in FILES}


def reaches(test, path):
    """Whether a test file calls a command, or imports a module directly or through others."""
    text = test.read_text(encoding="utf-8")
    verb = path.stem
    if str(path.parent.relative_to(ROOT)) == "pipeline/commands":
        pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")] if "docs" in test.name else []
        pages = [page.read_text(encoding="utf-8") for page in pages]
        return f'"{verb}"' in text or any(f"\ntak {verb} " in page for page in pages)
    waiting = {module for _, module in project_imports(test)}
    if "tak(" in text or "tak_study(" in text or "fixture" in text:
        waiting |= {"pipeline.cli", "pipeline.worker"}
    reached = set()
    while waiting:
        module = waiting.pop()
        reached.add(module)
        waiting |= IMPORTS.get(module, set()) - reached
    return dotted(path) in reached


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if path.name not in ("__init__.py", "__main__.py")],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_a_module_has_a_test_file_of_its_name_or_is_named_by_one(path):
    mirror = ROOT / "tests" / path.relative_to(ROOT)
    own = mirror.with_name(f"test_{path.name}").is_file()
    beside = dotted(path) in modules_named_in(mirror.parent)
    elsewhere = TESTED_BY.get(str(path.relative_to(ROOT)))
    registry = str(path.parent.relative_to(ROOT)) in ALIKE - {"pipeline/commands"}
    if own or beside or registry:  # contract tests find the modules of a registry by themselves
        assert elsewhere is None, "remove its line from tests/support/tested_by.py"
        return
    assert elsewhere, f"no test in {mirror.parent} names it; see tests/support/tested_by.py"
    assert (ROOT / elsewhere).is_file(), elsewhere
    assert reaches(ROOT / elsewhere, path), f"{elsewhere} neither imports nor calls it"


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
