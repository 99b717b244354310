"""The house: imports go downwards, start-up is light, every command is documented."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib import import_module

import pytest

from tests import ROOT

PACKAGE = ROOT / "calibeval"

# From the top of the house to the bottom; a module imports only from its own floor and below.
FLOORS = (
    ("cli", "__main__"),
    ("study", "report"),
    ("calibrate", "ranking", "gates", "train", "datasets"),
    ("plots",),
    ("score",),
    ("scoring",),
    ("confidence", "subgroups", "findings", "selective", "agreement"),
    ("io", "summary", "foreign", "exports"),
    ("bins",),
    ("lesion_table",),
    ("table", "ranges"),
    ("metrics", "phantom"),
    ("case_table",),
    ("planes", "protocol", "files", "machine", "delimited", "engine"),
    ("signature",),
    ("errors", "wording", "escape", "_version"),
)
FLOOR = {module: len(FLOORS) - place for place, modules in enumerate(FLOORS) for module in modules}
HEAVY = (
    "torch",
    "matplotlib",
    "numba",
    "scipy",
    "SimpleITK",
    "pandas",
    "nibabel",
    "monai",
    "distributed",
    "dask",
    "fsspec",
)


def imports(path, *, at_start_only):
    """Absolute names that a module imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = _run_at_import(tree) if at_start_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            if node.module == "calibeval":
                yield from (f"calibeval.{alias.name}" for alias in node.names)


def _run_at_import(tree):
    """Nodes that run when a module is imported: no function bodies, no TYPE_CHECKING blocks."""
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        waiting += list(ast.iter_child_nodes(node))


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def place(path):
    """The part of the house a file is in."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downwards(path):
    here = place(path)
    if here == "__init__":
        return
    assert here in FLOOR, f"{here} has no floor: add it to FLOORS"
    for name in imports(path, at_start_only=False):
        parts = name.split(".")
        if parts[0] == "calibeval" and len(parts) > 1 and parts[1] not in (here, "__version__"):
            assert FLOOR[parts[1]] <= FLOOR[here], f"{here} reaches up to {name}"
    if here not in ("cli", "__main__"):
        assert not any(name.startswith(("typer", "calibeval.cli")) for name in imports(path, at_start_only=False))


def test_no_imports_run_in_circles():
    """Inside the packages too, and inside functions."""
    names = {".".join(("calibeval", *path.relative_to(PACKAGE).with_suffix("").parts)): path for path in modules()}
    graph = {name: set(imports(path, at_start_only=False)) & set(names) for name, path in names.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_train_and_its_commands_know_torch(path):
    if place(path) not in ("train", "cli"):  # the commands ask whether it is there
        assert not any(name.split(".")[0] in ("torch", "monai") for name in imports(path, at_start_only=False))


@pytest.mark.parametrize("command", [["-c", "import calibeval"], ["-m", "calibeval", "--help"]])
def test_start_up_loads_nothing_heavy(command):
    script = ["-X", "importtime", *command]
    result = subprocess.run([sys.executable, *script], capture_output=True, text=True, check=True)
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in result.stderr.splitlines() if "|" in line}
    assert not loaded & {*HEAVY, "numpy"}


def test_scoring_loads_no_linear_algebra(tmp_path):
    """Numba asks for BLAS, which loads scipy.linalg: a sixth of a warm start."""
    sample = PACKAGE.parent / "sample_data"
    arguments = ["score", sample / "preds" / "calibrated", sample / "labelsTr", "--out", tmp_path, "--workers", "1"]
    command = [sys.executable, "-X", "importtime", "-m", "calibeval", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "numba.np.arraymath" in result.stderr
    assert not re.search(r"scipy\.linalg$", result.stderr, re.MULTILINE)


def test_modules_are_short():
    long = {str(path): n for path in modules() if (n := len(path.read_text(encoding="utf-8").splitlines())) > 400}
    assert not long


def test_functions_are_short():
    long = []
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                documentation = ast.get_docstring(node, clean=False) or ""
                signature = node.body[0].lineno - node.lineno
                lines = node.end_lineno - node.lineno + 1 - documentation.count("\n") - signature
                if lines > 60:
                    long.append(f"{path.name}:{node.name} ({lines})")
    assert not long


def _commands():
    from calibeval.cli import app
    from tests.generated import commands

    return [name for name, _ in commands(app)]


@pytest.mark.parametrize("command", _commands())
def test_every_command_has_help_and_stands_in_the_readme(command):
    from typer.testing import CliRunner

    from calibeval.cli import app

    result = CliRunner().invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert len(result.stdout) > 200
    readme = (PACKAGE.parent / "README.md").read_text(encoding="utf-8")
    assert f"calibeval {command}" in readme


def test_the_picture_of_the_house_names_every_room():
    picture = (ROOT / ".github" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    floor = {path.stem for path in PACKAGE.glob("*.py") if path.stem not in ("__init__", "__main__")}
    assert {room for room in rooms | floor if not re.search(rf"\b{room}\b", picture)} == set()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("accumulate", "metrics.accumulate"),
        ("bootstrap", "metrics.intervals"),
        ("boundary", "metrics.boundary"),
        ("calibration", "metrics.calibration"),
        ("empty", "metrics.empty"),
        ("overlap", "metrics.overlap"),
        ("statistics", "metrics.statistics"),
        ("surface", "metrics.surface"),
    ],
)
def test_homes_of_0_1_are_the_same_modules(old, new):
    """In an interpreter of its own: which name is imported first must not matter."""
    for first, second in ((old, new), (new, old)):
        names = f"calibeval.{first}", f"calibeval.{second}"
        code = f"import importlib as i; assert i.import_module({names[0]!r}) is i.import_module({names[1]!r})"
        subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("", "METRICS PROTOCOLS __version__ make_protocol read_table score_case score_folder"),
        ("accumulate", "Accumulator PlaneChunk ProbabilityError"),
        ("bins", "BinTable bins_path pool read_bins write_bins"),
        ("bootstrap", "mean_interval resample"),
        ("boundary", "near_boundary"),
        ("calibration", "Bins ace boundary_bins class_bins ece foreground_bins mce pece signed_gap to_bins top_bins"),
        ("empty", "apply_rule"),
        ("metrics", "CAUTIONS DEFAULT METRICS PAPER Metric cautions select_metrics"),
        ("overlap", "class_overlap dsc iou precision recall union_overlap volume_difference"),
        ("phantom", "PhantomCase make_case sharpen write_sample_data"),
        ("protocol", "EMPTY_RULES HD95_DEFINITIONS PROTOCOLS Protocol make_protocol"),
        ("score", "ScoredCase ScoredFolder score_case score_folder"),
        ("statistics", "Edges Histogram Statistics compare_labels"),
        ("surface", "SurfaceDistances assd hausdorff hd95 mask_surface_distances nsd surface_distances"),
        ("table", "Header Row read_table render_table to_frame write_table"),
    ],
)
def test_what_0_1_let_others_import_is_still_there(module, names):
    found = import_module(f"calibeval.{module}".rstrip("."))
    assert [name for name in names.split() if not hasattr(found, name)] == []
