"""The command `prepare`, and what it makes: scored, trained on, and hinted at."""

import json

import numpy as np
import pandas as pd
import pytest

from tests import ROOT
from tests.case_files import write_nifti
from tests.datasets import downloads
from tests.datasets.downloads import AFFINE, label, write


@pytest.fixture
def acdc(tmp_path):
    return downloads.acdc(tmp_path / "ACDC")


def test_it_says_what_it_does_and_what_comes_next(acdc, cli):
    first = cli("prepare", "acdc", acdc, "out")
    assert (first.code, first.err.count("\n")) == (0, 2)  # patients that are not there, of each part
    assert "ACDC: 6 cases to train on, 2 to test" in first.out
    assert "classes   background (0), RV (1), MYO (2), LV (3)" in first.out
    assert "calibeval train out --cases out/cases.csv" in first.out
    again = cli("prepare", "acdc", acdc, "-o", "out")
    assert "to do     0; 8 cases done before" in again.out
    assert cli("prepare", "acdc", acdc, "out", "--quiet").out == ""


def test_a_dry_run_writes_nothing_and_names_what_is_missing(tmp_path, acdc, cli):
    absent = acdc / "training" / "patient002" / "patient002_frame12_gt.nii.gz"
    absent.unlink()
    dry = cli("prepare", "acdc", acdc, "out", "--dry-run")
    assert (dry.code, (tmp_path / "out").exists()) == (3, False)
    assert f"calibeval: {absent}: is missing. Download it again.\n" in dry.err
    assert cli("prepare", "acdc", acdc, "out").code == 3


def test_nothing_that_can_be_used_is_2(tmp_path, cli):
    (tmp_path / "D" / "patient001").mkdir(parents=True)
    outcome = cli("prepare", "acdc", "D", "out")
    assert outcome.code == 2
    assert "patient001/Info.cfg: no such file" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["out", "-o", "out"], "Say once where"),
        ([], "Say once where"),
        (["out", "--preset", "nnunet"], "Known: paper"),
        (["out", "--spacing", "1"], "--spacing '1'"),
    ],
)
def test_wrong_usage(acdc, cli, arguments, message):
    outcome = cli("prepare", "acdc", acdc, *arguments)
    assert outcome.code == 2
    assert message in outcome.err


@pytest.mark.parametrize(
    ("name", "size", "reading"),
    [
        ("acdc", [224, 224], "100 patients are 200 volumes"),
        ("flare", [192, 192, 30], "the paper has 360 scans, the download 361"),
        ("brats2019", [], "classes or regions"),
        ("msd", [], "names no size"),
    ],
)
def test_the_papers_preset_says_how_it_was_read(tmp_path, cli, name, size, reading):
    source = getattr(downloads, name)(tmp_path / "download")
    outcome = cli("prepare", name, source, "out", "--preset", "paper", "--dry-run")
    assert reading in outcome.out
    assert " x ".join(map(str, size)) in outcome.out
    assert reading not in cli("prepare", name, source, "out", "--dry-run").out


def test_an_interruption_is_130_and_says_how_to_go_on(acdc, cli, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("calibeval.datasets.preparation._prepare_case", stop)
    outcome = cli("prepare", "acdc", acdc, "out")
    assert outcome.code == 130
    assert "Run it again to go on." in outcome.err


def test_without_simpleitk_the_extra_is_named(acdc, cli, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "SimpleITK", None)
    outcome = cli("prepare", "acdc", acdc, "out")
    assert outcome.code == 2
    assert "pip install 'calibeval[prepare]'" in outcome.err


def test_cut_voxels_are_told(tmp_path, cli):
    source = downloads.flare(tmp_path / "F", cases=2)
    lost = [int((label(case, range(5))[[0, 6]] == 1).sum()) for case in range(2)]
    whole = sum(int((label(case, range(5)) == 1).sum()) for case in range(2))
    outcome = cli("prepare", "flare", source, "out", "--size", "5x6")
    assert "in 2 cases; most of train_00" in outcome.out
    assert f"liver {sum(lost)} of {whole}" in outcome.out


def test_regions_of_brats_are_scored_as_binary_problems_of_their_own(tmp_path, cli):
    """By the dataset.json that prepare writes; maps of four classes, whose sums are the regions' probabilities."""
    source = downloads.brats2019(tmp_path / "B", ["HGG/BraTS19_CBICA_AAB_1", "LGG/BraTS19_TCIA01_186_1"])
    cli("prepare", "brats2019", source, "out")
    truth, maps = {}, {}
    for seed, case in enumerate(("BraTS19_CBICA_AAB_1", "BraTS19_TCIA01_186_1")):
        truth[case] = label(seed, [0, 1, 2, 4])
        random = np.random.default_rng(seed + 50).dirichlet(np.ones(4), truth[case].shape)
        maps[case] = random.astype(np.float32)
        write(tmp_path / "preds" / f"{case}.nii.gz", maps[case], AFFINE)
    outcome = cli("score", "preds", "out/labelsTr", "--metrics", "DSC,Brier", "--group-by", "none")
    assert outcome.code == 0, outcome.err
    table = pd.read_csv(tmp_path / "results" / "preds.csv", comment="#").set_index(["case", "class", "metric"]).value
    for name, stored, channels in (("WT", (1, 2, 4), (1, 2, 3)), ("TC", (1, 4), (1, 3)), ("ET", (4,), (3,))):
        for case, probabilities in maps.items():
            reference = np.isin(truth[case], stored)
            p = probabilities[..., channels].sum(axis=-1, dtype=np.float64)
            predicted = np.isin(probabilities.argmax(axis=-1), channels)  # the argmax decides the masks
            dsc = 2 * (reference & predicted).sum() / (reference.sum() + predicted.sum())
            assert table[case, name, "DSC"] == pytest.approx(dsc, abs=1e-6)
            brier = 2 * ((p - reference) ** 2).mean()  # of the region and of what lies outside
            assert table[case, name, "Brier"] == pytest.approx(brier, rel=1e-6)
    assert set(table.index.get_level_values("class")) >= {"WT", "TC", "ET"}
    plain = cli("score", "preds", "out/labelsTr", "--regions", "none", "--dry-run", "--group-by", "none")
    assert "background, necrosis, edema, enhancing" in plain.out
    assert "regions:" not in plain.out


def test_labels_without_names_that_leave_a_number_out_are_classes_of_their_own(tmp_path, cli):
    """0, 1, 2 and 4 are four classes; a fifth would have no voxel and, under some rules, a Dice of 1."""
    for seed, case in enumerate(("a", "b")):
        for folder in ("preds", "labels"):
            write_nifti(tmp_path / folder / f"{case}.nii.gz", label(seed, [0, 1, 2, 4]).T)
    dry = cli("score", "preds", "labels", "--dry-run")
    assert "classes: 0, 1, 2, 4 (from the labels that occur)" in dry.out
    cli("score", "preds", "labels", "--metrics", "DSC", "--empty", "worst")  # both empty is perfect then
    table = pd.read_csv(tmp_path / "results" / "preds.csv", comment="#", dtype=str)
    assert set(table["class"]) == {"1", "2", "4", "mean"}


def test_train_understands_what_is_prepared(acdc, cli):
    pytest.importorskip("torch")
    downloads.acdc(acdc, patients=range(1, 7))
    cli("prepare", "acdc", acdc, "out")
    outcome = cli("train", "out", "--cases", "out/cases.csv", "--dry-run", "--fold", "1/3", "--width", "4")
    assert outcome.code == 0, outcome.err
    assert "6 patients" in outcome.err
    assert "classes   background, RV, MYO, LV" in outcome.err


def test_real_cases_of_the_decathlon(tmp_path, cli):
    pytest.importorskip("torch")
    real = ROOT.parent / "shared" / "data" / "hippocampus"
    if not real.is_dir():
        pytest.skip("the data set is not here")
    description = json.loads((real / "dataset.json").read_text())
    description["training"] = description["training"][:4]
    (tmp_path / "Task04").mkdir()
    (tmp_path / "Task04" / "dataset.json").write_text(json.dumps(description))
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / "Task04" / folder).symlink_to(real / folder)
    assert cli("prepare", "msd", "Task04", "out", "--size", "32x48x32", "--around", "foreground").code == 0
    outcome = cli("train", "out", "--cases", "out/cases.csv", "--dry-run", "--fold", "1/4", "--width", "4")
    assert outcome.code == 0, outcome.err
    assert "classes   background, Anterior, Posterior" in outcome.err
    assert "slices    64 of 48x32" in outcome.err


def test_means_by_diagnosis(tmp_path, acdc, cli):
    cli("prepare", "acdc", acdc, "out")
    outcome = cli(
        "score",
        "out/labelsTr",
        "out/labelsTr",
        "--cases",
        "out/cases.csv",
        "--by",
        "diagnosis",
        "--metrics",
        "DSC",
        "--group-by",
        "patient",
    )
    assert outcome.code == 0, outcome.err
    for diagnosis in ("NOR", "DCM", "HCM"):
        assert diagnosis in outcome.out
    assert "3 groups of 6 cases" in outcome.out


def test_train_on_brats_learns_classes(tmp_path, cli):
    pytest.importorskip("torch")
    names = [f"HGG/BraTS19_CBICA_A{letter}_1" for letter in "ABC"]
    cli("prepare", "brats2019", downloads.brats2019(tmp_path / "B", names), "out")
    outcome = cli("train", "out", "--cases", "out/cases.csv", "--dry-run", "--fold", "1/3", "--width", "4")
    assert outcome.code == 0, outcome.err
    assert "classes   background, necrosis, edema, enhancing" in outcome.err
    assert "4 channel(s)" in outcome.err


def test_train_names_the_prepare_that_would_help(acdc, cli):
    pytest.importorskip("torch")
    outcome = cli("train", acdc, "--dry-run")
    assert outcome.code == 2
    assert f"It looks like ACDC as downloaded: calibeval prepare acdc {acdc} DST" in outcome.err
