"""Lesions from files to the table, the summary, shards, ranks and gates."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from calibeval.lesion_table import read_lesions

pytest.importorskip("cc3d")


@pytest.fixture
def folders(tmp_path):
    """Six cases: a lesion of 4 x 4 x 2 found at p = .9, one of a voxel missed, one predicted for nothing at p = .6."""
    for name in ("preds/m", "labels"):
        (tmp_path / name).mkdir(parents=True)
    for i in range(6):
        label, p = np.zeros((12, 12, 4), np.uint8), np.full((12, 12, 4), 0.02, np.float32)
        label[1:5, 1:5, 1:3], label[10, 10, 0] = 1, 1
        p[1:5, 1 : 5 - i % 2, 1:3], p[8, 2, 0] = 0.9, 0.6
        affine = np.diag([2.0, 2.0, 5.0, 1.0])
        nib.save(nib.Nifti1Image(label, affine), tmp_path / "labels" / f"c{i}.nii.gz")
        nib.save(nib.Nifti1Image(np.stack([1 - p, p], axis=-1), affine), tmp_path / "preds" / "m" / f"c{i}.nii.gz")
    return tmp_path


def test_a_row_a_lesion(cli, folders):
    outcome = cli("score", "preds/m", "labels", "--metrics", "DSC,lesions")
    assert outcome.code == 0, outcome.err
    first = [row for row in read_lesions(folders / "results" / "m.lesions.csv") if row.case == "c1"]
    assert [(row.lesion, row.voxels, row.volume_mm3, row.matched) for row in first] == [
        ("r1", 1, 20.0, 0), ("r2", 32, 640.0, 1), ("p1", 1, 20.0, 0),
    ]  # fmt: skip
    assert first[1].dsc == pytest.approx(2 * 24 / 56)
    assert first[1].hd95 == pytest.approx(2.0)
    assert (first[1].max_confidence, first[2].max_confidence) == (np.float32(0.9), np.float32(0.6))
    table = pd.read_csv("results/m.csv")
    values = table[(table.case == "c1") & (table["class"] == "mean")].set_index("metric").value
    assert values[["lesion_F1", "lesion_FP", "lesion_recall"]].tolist() == [0.5, 1, 0.5]
    assert (
        "finds 6 of 12 lesions (50%), 6 false in 6 cases; by volume < 0.1 mL 0 of 6, 0.1 to 1 mL 6 of 6" in outcome.out
    )
    assert "findings say 75.0%, are real in 50.0%" in outcome.out


def test_the_summary_for_machines(cli, folders):
    outcome = cli("score", "preds/m", "labels", "--metrics", "DSC,ECE,gap,lesions", "--json")
    (method,) = json.loads(outcome.out)["methods"]
    lesions = method["lesions"]
    assert (lesions["n"], lesions["found"], lesions["false_positives"]) == (12, 6, 6)
    assert lesions["froc"]["recall"] == [0.5, 0.5]
    assert lesions["froc"]["false_positives_per_case"] == [0, 1]
    assert lesions["confidence"]["gap"] == pytest.approx(0.25)
    assert method["selective"]["n"] == 6


def test_without_metrics_of_lesions_there_are_none(cli, folders):
    outcome = cli("score", "preds/m", "labels", "--json", "--metrics", "DSC,lesions")
    assert outcome.code == 0
    outcome = cli("score", "preds/m", "labels", "--json", "--metrics", "DSC")
    assert json.loads(outcome.out)["methods"][0]["lesions"] is None
    assert not (
        folders / "results" / "m.lesions.csv"
    ).exists()  # those of the earlier run would be taken for this one's


def test_shards_and_resuming_give_the_same_lesions(cli, folders):
    choices = ("preds/m", "labels", "--metrics", "DSC,lesions", "--quiet")
    assert cli("score", *choices).code == 0
    for i in (1, 2):
        assert cli("score", *choices, "--shard", f"{i}/2", "--out", "parts").code == 0
    parts = [f"parts/m.{i}of2{suffix}" for i in (1, 2) for suffix in (".csv", ".lesions.csv")]
    assert cli("merge", *parts, "-o", "merged", "--quiet").code == 0
    for suffix in (".csv", ".lesions.csv"):
        assert (folders / f"merged/m{suffix}").read_bytes() == (folders / f"results/m{suffix}").read_bytes()


def test_labels_alone_have_lesions_without_confidence(cli, folders):
    outcome = cli("score", "labels", "labels", "--metrics", "lesions", "--matching", "overlap", "--json")
    (method,) = json.loads(outcome.out)["methods"]
    assert method["lesions"]["confidence"] is None
    assert method["signature"].endswith("|lesions:overlap,26,0mm3")
    assert {row["metric"]: row["mean"] for row in method["metrics"]}["CC_DSC"] == 1


def test_ranks_and_gates_of_lesions(cli, folders):
    assert cli("score", "preds/m", "labels", "--metrics", "DSC,lesions", "--quiet").code == 0
    table = folders / "results" / "m.csv"
    (folders / "results" / "n.csv").write_text(
        table.read_text(encoding="utf-8").replace("\nm,", "\nn,"), encoding="utf-8"
    )
    outcome = cli("rank", "results/m.csv", "results/n.csv", "results/m.lesions.csv", "--metrics", "lesion_DSC")
    assert outcome.code == 0, outcome.err
    assert "by lesion_DSC on 6 cases" in outcome.out
    outcome = cli("check", "results/m.csv", "--gate", "mean(lesion_F1[1]) >= 0.8", "--gate", "max(lesion_FP) <= 1")
    assert outcome.code == 1
    assert "FAILED     mean(lesion_F1[1]) >= 0.8  0.5, 6 cases" in outcome.out
    assert "PASSED     max(lesion_FP) <= 1" in outcome.out


def test_an_unknown_matching_names_the_known_ones(cli, folders):
    outcome = cli("score", "preds/m", "labels", "--metrics", "lesions", "--matching", "dice")
    assert outcome.code == 2
    assert "Known: overlap, iou>T, centroid, brats26-gli, brats26-mets" in outcome.err
