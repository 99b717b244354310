"""One tree of errors, drawn in one docstring; what damage is, is told by class."""

import ast
import pickle
import re

import pytest

from calibeval import errors
from tests import ROOT

PACKAGE = ROOT / "calibeval"


def _exception_classes():
    """Names and bases of all classes in the package that end as an exception does, or have one for a base."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases = [ast.unparse(base).rsplit(".", 1)[-1] for base in node.bases]
                if any(re.search(r"(Error|Exception|Warning|Interrupt|Exit)$", base) for base in bases):
                    yield node.name, bases[0]


def _drawn():
    """Classes in the docstring's tree with the class that they hang from."""
    parents, tree = ["Exception"], {}
    for line in errors.__doc__.splitlines():
        if match := re.match(r"    ([│├└─ ]*)([A-Z]\w+)", line):
            depth = len(match[1]) // 4
            del parents[depth + 1 :]
            tree[match[2]] = parents[depth]
            parents.append(match[2])
    return tree


def test_every_exception_of_the_package_is_in_the_one_tree_where_its_bases_say():
    found = dict(_exception_classes())
    assert len(found) >= 8
    assert found == _drawn()


@pytest.mark.parametrize("kind", [errors.InputError, errors.BrokenFileError, errors.GeometryError])
def test_an_error_crosses_processes_whole(kind, tmp_path):
    error = pickle.loads(pickle.dumps(kind(tmp_path / "a.nii", "is short.", "Copy it again.")))
    assert type(error) is kind
    assert (error.path, error.problem, error.advice) == (tmp_path / "a.nii", "is short.", "Copy it again.")
