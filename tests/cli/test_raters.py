"""Several raters from files to the table, the summary, shards, ranks and gates."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from calibeval import read_table, score_folder
from calibeval.metrics.rated import crps
from calibeval.table import COLUMNS

AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])
RATERS = ("--raters", "{rater}/{case}")


def save(path, array, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


@pytest.fixture
def folders(tmp_path):
    """Six cases of 8 x 8 x 2 voxels: the model and `a` say the same 32, `b` the half of it, `c` nothing in case 0."""
    for i in range(6):
        full, half = np.zeros((2, 8, 8, 2), np.uint8)
        full[2:6, 2:6], half[2:4, 2:6] = 1, 1
        p = np.where(full == 1, 0.75, 0.125).astype(np.float32)
        save(tmp_path / "preds" / "m" / f"k{i}.nii.gz", np.stack([1 - p, p], axis=-1))
        for rater, label in {"a": full, "b": half, "c": full if i else 0 * full}.items():
            save(tmp_path / "labels" / rater / f"k{i}.nii.gz", label)
    return tmp_path


def numbers(metric, case="k0", class_name="mean"):
    _, frame = read_table(Path("results/m.csv"), raters=True)
    rows = frame[(frame.metric == metric) & (frame.case == case) & (frame["class"] == class_name)]
    return rows.set_index("rater").value


def test_every_kind_of_row_by_hand(cli, folders):
    outcome = cli("score", "preds/m", "labels", *RATERS, "--metrics", "DSC,HD95,ECE,Brier", "--protocol", "guo")
    assert outcome.code == 0, outcome.err
    dsc = numbers("DSC")
    assert dsc[["a", "b", "c", "consensus"]].tolist() == pytest.approx([1, 2 / 3, 0, 2 / 3])
    assert dsc[""] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert dsc["among"] == pytest.approx((2 / 3 + 0 + 0) / 3)
    brier = numbers("Brier", class_name="all")
    outside, inside, wrong = 2 * 0.125**2, 2 * 0.25**2, 2 * 0.75**2
    by_hand = [(96 * outside + right * inside + (32 - right) * wrong) / 128 for right in (32, 16, 0)]
    assert brier[["a", "b", "c"]].tolist() == pytest.approx(by_hand)
    assert brier["soft"] == pytest.approx(sum(by_hand) / 3)
    ece = numbers("ECE", class_name="all")
    assert ece["a"] == pytest.approx(96 / 128 * 0.125 + 32 / 128 * 0.25)
    assert ece["soft"] == pytest.approx(96 / 128 * 0.125 + 32 / 128 * 0.25)  # half of the votes within say so
    assert ece[""] == pytest.approx(ece[["a", "b", "c"]].mean())
    assert "soft" not in dsc
    assert "among" not in ece
    hd95 = numbers("HD95")
    assert np.isnan(hd95["c"])
    assert hd95[""] == pytest.approx(hd95[["a", "b"]].mean())
    notes = pd.read_csv("results/m.csv").query("metric == 'HD95' and case == 'k0' and rater.isna()").note
    assert notes.iloc[0] == "without c (empty_reference)"
    assert "raters:mean,majority" in outcome.out
    assert "against the raters (and they among themselves): DSC 0.8" in outcome.out


def test_every_reader_but_one_that_asks_sees_means_alone(cli, folders):
    assert cli("score", "preds/m", "labels", *RATERS, "--quiet").code == 0
    header, frame = read_table(Path("results/m.csv"))
    assert set(frame.rater) == {""}
    assert not frame.duplicated(["case", "class", "metric"]).any()
    assert "--raters '{rater}/{case}'" in header.command
    scored = score_folder("preds/m", "labels", raters="{rater}/{case}").table
    pd.testing.assert_frame_equal(scored[list(COLUMNS)], frame[list(COLUMNS)])
    assert cli("rank", "results/m.csv", "results/m.csv").code == 2
    outcome = cli("score", "preds/m", "labels", *RATERS, "--json")
    (method,) = json.loads(outcome.out)["methods"]
    assert method["raters"][0]["metric"] == "DSC"
    assert method["raters"][0]["n"] == 6
    (dsc,) = (row for row in method["metrics"] if (row["metric"], row["class_name"]) == ("DSC", "mean"))
    assert dsc["mean"] == pytest.approx((5 * 8 / 9 + 5 / 9) / 6)


def test_one_pass_gives_what_each_rater_alone_gives(cli, folders):
    choices = ("--metrics", "all", "--quiet", "-o")
    assert cli("score", "preds/m", "labels", *RATERS, *choices, "all.csv").code == 0
    _, frame = read_table(Path("all.csv"), raters=True)
    for rater in "ab":
        assert cli("score", "preds/m", f"labels/{rater}", *choices, f"{rater}.csv").code == 0
        alone = read_table(Path(f"{rater}.csv"))[1]
        columns = ["case", "class", "metric", "value", "status", "note"]
        mine = frame[frame.rater == rater][columns].reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, alone[alone.case != "pooled"][columns].reset_index(drop=True))


def test_shards_merge_to_the_bytes_of_one_run(cli, folders):
    assert cli("score", "preds/m", "labels", *RATERS, "--quiet", "-o", "one.csv").code == 0
    for part in ("1/2", "2/2"):
        assert cli("score", "preds/m", "labels", *RATERS, "--quiet", "-o", "parts", "--shard", part).code == 0
    parts = sorted(str(path) for path in (folders / "parts").glob("*.csv"))
    assert cli("merge", *parts, "-o", "merged.csv", "--quiet").code == 0
    assert (folders / "merged.csv").read_bytes() == (folders / "one.csv").read_bytes()


def test_a_rater_without_a_label_and_one_on_another_grid(cli, folders):
    (folders / "labels" / "b" / "k1.nii.gz").unlink()
    save(folders / "labels" / "c" / "k2.nii.gz", np.zeros((8, 8, 3), np.uint8))
    save(folders / "labels" / "c" / "k3.nii.gz", np.zeros((8, 8, 2), np.uint8), np.diag([2.0, 2.0, 4.0, 1.0]))
    outcome = cli("score", "preds/m", "labels", *RATERS, "--metrics", "DSC")
    assert outcome.code == 3
    assert numbers("DSC", "k1").drop(["", "consensus", "among"]).to_dict() == {"a": 1.0, "c": 1.0}
    assert "note (1 case): no label of the rater b" in outcome.out
    assert "m/k2: " in outcome.err
    assert "k2.nii.gz: its shape (3, 8, 8) differs from that of " in outcome.err
    assert "m/k3: " in outcome.err
    assert "rater       b: no label of this case" in cli("score", "preds/m", "labels", *RATERS, "--dry-run").out


def test_tables_of_one_rater_and_of_several_are_not_compared(cli, folders):
    assert cli("score", "preds/m", "labels", *RATERS, "--quiet", "-o", "many.csv").code == 0
    assert cli("score", "preds/m", "labels/a", "--dataset", "labels", "--quiet", "-o", "one.csv").code == 0
    outcome = cli("rank", "many.csv", "one.csv")
    assert outcome.code == 2
    assert "raters: mean,majority against one" in outcome.err


def test_regions_label_maps_and_the_consensus_asked_for(cli, folders):
    choices = ("--regions", "whole=1", "--classes", "background,organ")
    assert cli("score", "preds/m", "labels", *RATERS, *choices, "--metrics", "DSC,Brier", "--quiet").code == 0
    assert numbers("DSC")[["a", "b", "c"]].tolist() == pytest.approx([1, 2 / 3, 0])
    options = ("--metrics", "DSC", "--consensus", "staple")
    outcome = cli("score", "labels/a", "labels", *RATERS, *options, "-o", "maps.csv")
    assert outcome.code == 0, outcome.err
    assert "their consensus is by staple" in outcome.out
    assert "raters:mean,staple" in outcome.out


def test_metrics_of_all_raters_at_once(cli, folders):
    options = ("--metrics", "raters", "--levels", "0.2,0.5")
    assert cli("score", "preds/m", "labels", *RATERS, *options).code == 0
    voxel = 2 * 2 * 5 / 1000
    volume, volumes = 32 * 0.75 + 96 * 0.125, np.array([32, 16, 0])
    assert numbers("CRPS")[""] == pytest.approx(crps(volume, volumes) * voxel)
    assert numbers("tDSC")[""] == pytest.approx((1 + 2 / 3) / 2)  # shares 2/3 and 1/3 of 16 voxels each
    assert np.isnan([numbers("cDSC")[""], numbers("cConf")[""]]).all()  # in no voxel all say it, none was invented
    assert numbers("cDSC", "k1")[""] == 1
    assert numbers("cConf", "k1")[""] == pytest.approx((0.75 + 1 - 0.125) / 2)
    outcome = cli("score", "preds/m", "labels/a", "--metrics", "CRPS")
    assert outcome.code == 2
    assert "CRPS: needs several raters; say with --raters who is who" in outcome.err


def test_calibration_within_a_box_of_the_body_or_of_what_raters_drew(cli, tmp_path):
    """A strip of 60 voxels: raters drew 4 to 7, the body is 2 to 41; outside it the model errs."""
    label, image = np.zeros((60, 4, 1), np.uint8), np.full((60, 4, 1), -1000, np.int16)
    label[4:8], image[2:42] = 1, 50
    p = np.where(label == 1, 1.0, 0.25).astype(np.float32)
    for case in "kl":
        save(tmp_path / "p" / f"{case}.nii.gz", np.stack([1 - p, p], axis=-1))
        save(tmp_path / "i" / f"{case}_0000.nii.gz", image)
        for rater in "ab":
            save(tmp_path / "l" / rater / f"{case}.nii.gz", label)
    found = {}
    for name, options in {"24": (), "24i": ("--images", "i"), "25": ()}.items():
        choices = ("--protocol", f"curvas{name[:2]}", "--metrics", "ECE,DSC", "-o", "t.csv")
        outcome = cli("score", "p", "l", *RATERS, *choices, *options)
        assert outcome.code == 0, outcome.err
        assert ("crop:body" in outcome.out, "crop:raters" in outcome.out) == (name == "24i", name == "25")
        frame = read_table(Path("t.csv"))[1].set_index(["metric", "case", "class"]).value
        found[name] = frame["ECE", "k", "all"]
        assert frame["DSC", "k", "mean"] == 1
    assert found == pytest.approx({"24": 0.25 * 56 / 60, "24i": 0.25 * 36 / 40, "25": 0.25 * 24 / 28})
    (tmp_path / "i" / "l_0000.nii.gz").unlink()
    outcome = cli("score", "p", "l", *RATERS, "--images", "i")
    assert outcome.code == 2
    assert "--images i: holds no image of l" in outcome.err


def test_gates_score_and_look_at_the_files_of_several_raters(cli, folders):
    (folders / "gates.toml").write_text(
        'fail = ["mean(tDSC) >= 0.7", "mean(DSC) >= 0.9"]\nintegrity = {}\n'
        'score = { raters = "{rater}/{case}", metrics = "DSC,raters" }\n'
    )
    outcome = cli("check", "preds/m", "labels", "--gates", "gates.toml")
    assert outcome.code == 1, outcome.err
    assert "PASSED     mean(tDSC) >= 0.7" in outcome.out
    assert "FAILED     mean(DSC) >= 0.9" in outcome.out
