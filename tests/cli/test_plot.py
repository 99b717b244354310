"""`calibeval plot`: files, the terminal, and what is refused."""

import shutil
from typing import Any

import nibabel
import pytest
from typer.testing import CliRunner

from calibeval.cli import app
from calibeval.errors import UsageError
from tests import SAMPLE

pytest.importorskip("matplotlib")


def plot(*words):
    return CliRunner().invoke(app, ["plot", *map(str, words)], catch_exceptions=False)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    out = tmp_path_factory.mktemp("tables")
    words = ["score", SAMPLE / "preds", SAMPLE / "labelsTr", "--out", out, "--quiet", "--metrics", "paper,gap,bECE"]
    assert CliRunner().invoke(app, [*map(str, words)]).exit_code == 0
    return sorted(out.glob("*.csv"))


@pytest.mark.parametrize(
    ("kind", "more", "magic"),
    [
        ("reliability", [], b"<?xml"),
        ("reliability", ["--class", "all,boundary,MYO", "--size", "column"], b"%PDF"),
        ("cases", ["--metrics", "DSC,gap", "--class", "RV"], b"\x89PNG"),
        ("confidence", ["--class", "each"], b"<?xml"),
        ("slices", ["--images", SAMPLE / "imagesTr"], b"\x89PNG"),
        ("slices", ["--case", "phantom_002", "--size", "column"], b"%PDF"),
    ],
)
def test_a_file_is_written(tables, kind, more, magic, tmp_path):
    out = tmp_path / {b"<?xml": "x.svg", b"%PDF": "x.pdf", b"\x89PNG": "x.PNG"}[magic]
    result = plot(kind, *tables, "-o", out, *more)
    assert result.exit_code == 0, result.output
    assert out.read_bytes().startswith(magic)
    assert result.stdout == "" and f"wrote {out}" in result.stderr


def test_the_terminal_shows_what_characters_can(tables):
    text = plot("reliability", *tables, "--class", "MYO").stdout
    assert text.startswith("MYO\ncalibrated") and "over-confident" in text
    assert max(map(len, text.splitlines())) <= 100
    assert plot("cases", *tables).stdout.splitlines()[0] == "DSC"
    assert "under-confident  says 74%, is right in 90%" in plot("confidence", *tables).stdout


def test_maps_lie_in_a_folder_a_method(tables, tmp_path):
    result = plot("maps", *tables[:2], "--case", "phantom_003", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.nii.gz"))
    assert written == ["calibrated/phantom_003.nii.gz", "overconfident/phantom_003.nii.gz"]
    image: Any = nibabel.load(tmp_path / written[0])
    assert str(image.get_data_dtype()) == "float32"


def test_one_bad_case_costs_itself_alone(tables, tmp_path):
    preds = tmp_path / "preds" / "calibrated"
    shutil.copytree(SAMPLE / "preds" / "calibrated", preds)
    broken = next(preds.glob("phantom_001*"))
    broken.write_bytes(b"no map")
    result = plot("maps", tables[0], "--preds", tmp_path / "preds", "-o", tmp_path / "maps")
    assert result.exit_code == 3
    assert str(broken) in result.stderr and "wrote 11 maps" in result.stderr


def test_tables_of_one_name_go_by_their_folders(tables, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for path in (tables[0], tables[0].with_name("calibrated.bins.npz")):
            shutil.copy(path, tmp_path / folder / path.name.replace("calibrated", "score"))
    text = plot("confidence", tmp_path / "a" / "score.csv", tmp_path / "b" / "score.csv").stdout
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["a", "b"]


def test_refusals(tables, tmp_path):
    with pytest.raises(UsageError, match=r"plot maps cannot be drawn in characters. Say where to: -o DIR"):
        plot("maps", tables[0])
    with pytest.raises(UsageError, match=r"written as .svg, .png or .pdf"):
        plot("cases", tables[0], "-o", tmp_path / "x.jpg")
    with pytest.raises(UsageError, match=r"No class 'liver'. There are RV, MYO, LV"):
        plot("reliability", tables[0], "--class", "liver")
    with pytest.raises(UsageError, match=r"nowhere: not there. Say where they lie: --preds DIR --labels DIR"):
        plot("slices", tables[0], "--preds", tmp_path / "nowhere", "-o", tmp_path / "x.png")
    with pytest.raises(UsageError, match="No case 'x'"):
        plot("maps", tables[0], "--case", "x", "-o", tmp_path)
    with pytest.raises(UsageError, match="Two results have one name"):
        plot("cases", tables[0], tables[0])
