"""The README is a front page: short, honest, and leads on; `tests/test_docs.py` runs what it shows."""

import re

from tests import ROOT
from tests.generated import DOCS
from tests.picture import PICTURE, captions

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_is_short():
    assert len(README.encode()) <= 12_000


def test_it_links_every_page():
    assert {f"calibeval/docs/{page.name}" for page in DOCS.glob("*.md")} <= set(re.findall(r"\]\(([^)]+)\)", README))


def test_its_picture_shows_the_scores_of_today():
    picture = PICTURE.read_text(encoding="utf-8")
    for method, caption in captions().items():
        assert method in picture
        assert f">{caption}<" in picture, "this draws it anew: python -m tests.picture"


def test_its_full_test_command_installs_every_extra_that_tests_use():
    """The one line that .ci/run takes."""
    (line,) = re.findall(r"^python -m pip install -c tests/constraints.txt.*$", README, re.MULTILINE)
    for extra in ("train", "plots", "junit", "test", "oracles", "fast"):
        assert extra in line


def test_neither_its_first_command_nor_the_default_tests_need_torch():
    first, default = re.findall(r"^python -m pip install (?:\.|-e '\.\[test\]').*$", README, re.MULTILINE)
    assert first == "python -m pip install . && calibeval score sample_data/preds sample_data/labelsTr"
    assert default == "python -m pip install -e '.[test]' && python -m pytest -n auto"
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for extra in ("dependencies", "test"):
        (wanted,) = re.findall(rf"^{extra} = \[(.*?)\]$", pyproject, re.MULTILINE | re.DOTALL)
        assert not re.search(r"torch|monai", wanted)
