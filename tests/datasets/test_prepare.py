"""From original layouts to nnU-Net's: every voxel, every name, and every file that is missing or cannot be used."""

import gzip
import json
import os

import numpy as np
import pandas as pd
import pytest
from nibabel.nifti1 import Nifti1Image

from calibeval.case_table import groups, read_cases
from calibeval.datasets import DATA_SETS, plan_preparation, prepare, recognise
from calibeval.datasets.grid import FOREGROUND, Grid
from calibeval.errors import GeometryError, InputError, UsageError
from calibeval.io.classes import make_scheme
from tests.datasets import downloads
from tests.datasets.downloads import AFFINE, SHAPE, image, label, write


def prepared(name, source, out, grid=Grid(), code=0):  # noqa: B008 (a tuple)
    outcome = prepare(plan_preparation(DATA_SETS[name], source, out, grid))
    assert len(outcome.failures) == code, outcome.failures
    return outcome


def voxels(path):
    found = Nifti1Image.from_filename(path)
    np.testing.assert_allclose(found.affine, AFFINE, rtol=1e-6)
    return np.asarray(found.dataobj)


def description(out):
    return json.loads((out / "dataset.json").read_text())


def cases(out):
    return pd.read_csv(out / "cases.csv", keep_default_na=False).set_index("case")


def names(folder):
    return sorted(path.name.removesuffix(".nii.gz") for path in folder.iterdir())


def test_acdc_voxel_by_voxel(tmp_path):
    out = tmp_path / "out"
    prepared("acdc", downloads.acdc(tmp_path / "ACDC" / "database", frames=(11, 1)), out)
    assert names(out / "imagesTr") == [f"patient00{p}_frame{f}_0000" for p in (1, 2, 3) for f in ("01", "11")]
    assert names(out / "labelsTs") == ["patient101_frame01", "patient101_frame11"]
    for patient, part in ((1, "Tr"), (2, "Tr"), (3, "Tr"), (101, "Ts")):
        for frame in (1, 11):
            name, seed = f"patient{patient:03d}_frame{frame:02d}", 100 * patient + frame
            np.testing.assert_array_equal(voxels(out / f"images{part}" / f"{name}_0000.nii.gz"), image(seed))
            np.testing.assert_array_equal(voxels(out / f"labels{part}" / f"{name}.nii.gz"), label(seed, range(4)))
    assert description(out) == {
        "name": "ACDC",
        "channel_names": {"0": "cine-MRI"},
        "labels": {"background": 0, "RV": 1, "MYO": 2, "LV": 3},
        "numTraining": 6,
        "file_ending": ".nii.gz",
    }
    row = cases(out).loc["patient001_frame11"]
    assert row.to_dict() == {"patient": "patient001", "part": "train", "phase": "ED", "diagnosis": "DCM"}


def test_flare_voxel_by_voxel(tmp_path):
    out = tmp_path / "out"
    prepared("flare", downloads.flare(tmp_path / "FLARE21"), out)
    assert names(out / "labelsTr") == ["train_000", "train_001", "train_002"]
    for case in range(3):
        np.testing.assert_array_equal(voxels(out / "imagesTr" / f"train_{case:03d}_0000.nii.gz"), image(case))
        np.testing.assert_array_equal(voxels(out / "labelsTr" / f"train_{case:03d}.nii.gz"), label(case, range(5)))
    np.testing.assert_array_equal(voxels(out / "imagesTs" / "validation_001_0000.nii.gz"), image(50))
    assert not (out / "labelsTs").exists()
    assert description(out)["labels"] == {"background": 0, "liver": 1, "kidney": 2, "spleen": 3, "pancreas": 4}
    assert cases(out)["part"].value_counts().to_dict() == {"train": 3, "test": 1}


def test_brats_voxel_by_voxel(tmp_path):
    source = downloads.brats2019(tmp_path / "MICCAI_BraTS_2019_Data_Training")
    downloads.brats2019(source, ["BraTS19_TMC_1_1"])  # to validate with
    out = tmp_path / "out"
    prepared("brats2019", source, out)
    assert names(out / "labelsTr") == ["BraTS19_2013_2_1", "BraTS19_CBICA_AAB_1", "BraTS19_TCIA01_186_1"]
    for seed, name in enumerate(("BraTS19_CBICA_AAB_1", "BraTS19_2013_2_1", "BraTS19_TCIA01_186_1")):
        for channel in range(4):
            found = voxels(out / "imagesTr" / f"{name}_{channel:04d}.nii.gz")
            np.testing.assert_array_equal(found, image(10 * seed + channel))
        stored = label(seed, [0, 1, 2, 4])
        np.testing.assert_array_equal(voxels(out / "labelsTr" / f"{name}.nii.gz"), np.where(stored == 4, 3, stored))
    assert names(out / "imagesTs") == [f"BraTS19_TMC_1_1_000{channel}" for channel in range(4)]
    assert description(out)["channel_names"] == {"0": "flair", "1": "t1", "2": "t1ce", "3": "t2"}
    assert cases(out).loc["BraTS19_TCIA01_186_1"].to_dict() == {
        "patient": "BraTS19_TCIA01_186", "part": "train", "grade": "LGG", "source": "TCIA01",
    }  # fmt: skip
    scheme = make_scheme([out])
    assert scheme.names == ("background", "necrosis", "edema", "enhancing")
    assert scheme.regions == {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}


def test_msd_voxel_by_voxel(tmp_path):
    out = tmp_path / "out"
    prepared("msd", downloads.msd(tmp_path / "MSD"), out)
    assert names(out / "labelsTr") == ["prostate_00", "prostate_01", "prostate_02"]
    for case in range(3):
        whole = image(case, (*SHAPE, 2), np.float32)
        for channel in range(2):
            found = voxels(out / "imagesTr" / f"prostate_{case:02d}_{channel:04d}.nii.gz")
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, whole[..., channel])
        np.testing.assert_array_equal(voxels(out / "labelsTr" / f"prostate_{case:02d}.nii.gz"), label(case, range(3)))
    assert names(out / "imagesTs") == ["prostate_08_0000", "prostate_08_0001"]
    found = description(out)
    assert (found["name"], found["channel_names"]) == ("PROSTATE", {"0": "T2", "1": "ADC"})
    assert found["labels"] == {"background": 0, "PZ": 1, "TZ": 2}


def test_a_sheared_header_is_kept(tmp_path):
    """ITK makes it orthogonal when it writes; a prepared case lies where its file says."""
    source, out = downloads.flare(tmp_path / "F"), tmp_path / "out"
    sheared = AFFINE.copy()
    sheared[0, 2] = 0.6
    for path in (source / "TrainingImg" / "train_000_0000.nii.gz", source / "TrainingMask" / "train_000.nii.gz"):
        write(path, np.asarray(Nifti1Image.from_filename(path).dataobj), sheared)
    prepared("flare", source, out)
    np.testing.assert_allclose(
        Nifti1Image.from_filename(out / "labelsTr" / "train_000.nii.gz").affine, sheared, rtol=1e-6
    )


def test_the_frames_of_a_patient_are_of_one_fold(tmp_path):
    from calibeval.train.folds import split_cases

    out = tmp_path / "out"
    prepared("acdc", downloads.acdc(tmp_path / "ACDC", patients=range(1, 11)), out)
    group_of = groups(cases(out).index, "patient", read_cases(out / "cases.csv"))
    for fold in range(1, 6):
        parts = split_cases(group_of, f"{fold}/5")
        assert sum(map(len, parts)) == 20
        assert sum(len({group_of[case] for case in part}) for part in parts) == 10  # no patient is in two


class TestAgain:
    def test_what_is_done_is_left_as_it_is(self, tmp_path):
        source, out = downloads.flare(tmp_path / "F"), tmp_path / "out"
        prepared("flare", source, out)
        before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.rglob("*.nii.gz")}
        texts = {path: path.read_bytes() for path in (out / "dataset.json", out / "cases.csv", out / "prepare.json")}
        assert plan_preparation(DATA_SETS["flare"], source, out, Grid()).done == 4
        prepared("flare", source, out)
        assert before == {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.rglob("*.nii.gz")}
        assert texts == {path: path.read_bytes() for path in texts}

    @pytest.mark.parametrize("lost", ["imagesTr/train_001_0000.nii.gz", "labelsTr/train_001.nii.gz"])
    def test_a_lost_output_is_made_again(self, tmp_path, lost):
        source, out = downloads.flare(tmp_path / "F"), tmp_path / "out"
        prepared("flare", source, out)
        held = (out / lost).read_bytes()
        (out / lost).unlink()
        plan = plan_preparation(DATA_SETS["flare"], source, out, Grid())
        assert [each.case for each in plan.todo] == ["train_001"]
        prepare(plan)
        assert (out / lost).read_bytes() == held

    def test_a_changed_source_is_taken_anew(self, tmp_path):
        source, out = downloads.flare(tmp_path / "F"), tmp_path / "out"
        prepared("flare", source, out)
        write(source / "TrainingImg" / "train_002_0000.nii.gz", image(77))
        prepared("flare", source, out)
        np.testing.assert_array_equal(voxels(out / "imagesTr" / "train_002_0000.nii.gz"), image(77))

    def test_after_an_interruption_the_rest_is_made(self, tmp_path):
        source, out = downloads.flare(tmp_path / "F"), tmp_path / "out"

        def stop(case):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            prepare(plan_preparation(DATA_SETS["flare"], source, out, Grid()), stop)
        assert names(out / "labelsTr") == ["train_000"]
        assert description(out)["numTraining"] == len(cases(out)) == 1
        prepared("flare", source, out)
        assert description(out)["numTraining"] == 3

    def test_other_choices_want_another_folder(self, tmp_path):
        source, out = downloads.flare(tmp_path / "F"), tmp_path / "out"
        prepared("flare", source, out)
        with pytest.raises(UsageError, match=r"prepared otherwise \(size: as it is\)"):
            plan_preparation(DATA_SETS["flare"], source, out, Grid(size=(4, 4)))

    def test_a_folder_of_something_else_is_not_touched(self, tmp_path):
        (tmp_path / "out" / "imagesTr").mkdir(parents=True)
        with pytest.raises(UsageError, match="did not write"):
            plan_preparation(DATA_SETS["flare"], downloads.flare(tmp_path / "F"), tmp_path / "out", Grid())


class TestProblems:
    def failures(self, name, source, out):
        return [str(each) for each in prepare(plan_preparation(DATA_SETS[name], source, out, Grid())).failures]

    def test_missing_files_are_named_one_by_one(self, tmp_path):
        source = downloads.acdc(tmp_path / "ACDC")
        absent = [
            source / "training" / "patient001" / "patient001_frame12_gt.nii.gz",
            source / "training" / "patient002" / "patient002_frame01.nii.gz",
            source / "training" / "patient003" / "Info.cfg",
        ]
        for path in absent:
            path.unlink()
        out = tmp_path / "out"
        failures = self.failures("acdc", source, out)
        assert [text.partition(":")[0] for text in failures] == [str(absent[2]), str(absent[0]), str(absent[1])]
        assert names(out / "labelsTr") == ["patient001_frame01", "patient002_frame12"]
        (note,) = [n for n in plan_preparation(DATA_SETS["acdc"], source, out, Grid()).listing.notes if "training" in n]
        assert "97 of 100 patients are not there: patient004, patient005" in note

    def test_brats_and_flare_name_what_is_missing(self, tmp_path):
        source = downloads.brats2019(tmp_path / "B")
        absent = source / "LGG" / "BraTS19_TCIA01_186_1" / "BraTS19_TCIA01_186_1_t1ce.nii.gz"
        absent.unlink()
        assert self.failures("brats2019", source, tmp_path / "b") == [f"{absent}: is missing. Download it again."]
        source = downloads.flare(tmp_path / "F")
        images = [source / "TrainingImg" / "train_001_0000.nii.gz", source / "TrainingMask" / "train_002.nii.gz"]
        for path in images:
            path.unlink()
        assert self.failures("flare", source, tmp_path / "f") == [
            f"{p}: is missing. Download it again." for p in images
        ]

    def test_msd_names_what_its_list_has_more(self, tmp_path):
        source = downloads.msd(tmp_path / "MSD")
        absent = source / "Task05_Prostate" / "labelsTr" / "prostate_01.nii.gz"
        absent.unlink()
        assert self.failures("msd", source, tmp_path / "out") == [f"{absent}: is missing. Download it again."]

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda image, label: image.write_bytes(image.read_bytes()[:-40]), "truncated or corrupt"),
            (lambda image, label: write(label, np.full(SHAPE, 7, np.uint8)), "label 7 .* stands for no class"),
            (lambda image, label: write(label, np.zeros((7, 6, 3), np.uint8)), "shape"),
            (lambda image, label: write(image, np.full(SHAPE, np.nan, np.float32)), "NaN"),
            (lambda image, label: write(image, np.zeros((*SHAPE, 2), np.int16)), "has 2 channels, expected 1"),
            (lambda image, label: write(label, np.zeros((*SHAPE, 2), np.uint8)), "shape"),
            (lambda image, label: write(image, np.zeros(SHAPE[:2], np.int16)), "shape"),
        ],
        ids=["truncated", "label", "shape", "nan", "channels", "two labels", "a plane"],
    )
    def test_a_bad_case_costs_itself_alone(self, tmp_path, spoil, message):
        source, out = downloads.flare(tmp_path / "F"), tmp_path / "out"
        spoil(source / "TrainingImg" / "train_001_0000.nii.gz", source / "TrainingMask" / "train_001.nii.gz")
        outcome = prepared("flare", source, out, code=1)
        with pytest.raises(InputError, match=message):
            raise outcome.failures[0]
        assert names(out / "imagesTr") == ["train_000_0000", "train_002_0000"]
        assert list(cases(out).index) == ["train_000", "train_002", "validation_001"]

    def test_a_label_elsewhere_is_refused(self, tmp_path):
        source = downloads.flare(tmp_path / "F")
        write(source / "TrainingMask" / "train_000.nii.gz", label(0, range(5)), AFFINE + np.eye(4)[3] * 9)
        (failure,) = prepared("flare", source, tmp_path / "out", code=1).failures
        assert isinstance(failure, GeometryError)

    @pytest.mark.parametrize("name", DATA_SETS)
    def test_another_folder_is_told_what_was_expected(self, tmp_path, name):
        (tmp_path / "empty").mkdir()
        with pytest.raises(UsageError, match=r"holds no case of .* Expected "):
            plan_preparation(DATA_SETS[name], tmp_path / "empty", tmp_path / "out", Grid())
        downloads.brats2019(tmp_path / "another")
        if name not in ("brats2019", "msd"):
            with pytest.raises(UsageError, match=r"looks like BraTS 2019 .* calibeval prepare brats2019"):
                plan_preparation(DATA_SETS[name], tmp_path / "another", tmp_path / "out", Grid())
        with pytest.raises(UsageError, match="no such folder"):
            plan_preparation(DATA_SETS[name], tmp_path / "none", tmp_path / "out", Grid())

    def test_the_source_is_not_written_to(self, tmp_path):
        source = downloads.flare(tmp_path / "F")
        with pytest.raises(UsageError, match="own folder"):
            plan_preparation(DATA_SETS["flare"], source, source / "prepared", Grid())

    def test_a_case_twice_is_refused(self, tmp_path):
        source = downloads.acdc(tmp_path / "ACDC", patients=[1])
        downloads.acdc(source / "copy", patients=[1])
        with pytest.raises(UsageError, match="patient001_frame01 more than once"):
            plan_preparation(DATA_SETS["acdc"], source, tmp_path / "out", Grid())
        source = downloads.flare(tmp_path / "F")
        downloads.flare(source / "copy", cases=1)
        with pytest.raises(UsageError, match="train_000 more than once"):
            plan_preparation(DATA_SETS["flare"], source, tmp_path / "out", Grid())

    def test_a_list_of_another_form(self, tmp_path):
        (tmp_path / "m").mkdir()
        (tmp_path / "m" / "dataset.json").write_text('{"labels": {"a": 1}, "channel_names": {"0": "CT"}}')
        with pytest.raises(InputError, match="expected 'training'"):
            plan_preparation(DATA_SETS["msd"], tmp_path / "m", tmp_path / "out", Grid())
        downloads.msd(tmp_path / "two")
        (tmp_path / "two" / "Task04" / "x").mkdir(parents=True)
        (tmp_path / "two" / "Task04" / "dataset.json").write_text("{}")
        with pytest.raises(UsageError, match="several tasks"):
            plan_preparation(DATA_SETS["msd"], tmp_path / "two", tmp_path / "out", Grid())

    def test_older_downloads_have_no_labels_to_test_with(self, tmp_path):
        source, out = downloads.acdc(tmp_path / "ACDC"), tmp_path / "out"
        for path in (source / "testing").rglob("*_gt.nii.gz"):
            path.unlink()
        prepared("acdc", source, out)
        assert names(out / "imagesTs") == ["patient101_frame01_0000", "patient101_frame12_0000"]

    def test_no_room_ends_it_and_nothing_half_written_stays(self, tmp_path, monkeypatch):
        source, out = downloads.flare(tmp_path / "F"), tmp_path / "out"

        def full(self, data):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("pathlib.Path.write_bytes", full)
        with pytest.raises(OSError, match="No space"):
            prepare(plan_preparation(DATA_SETS["flare"], source, out, Grid()))
        assert [path for path in out.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", ["acdc", "flare", "brats2019"])
def test_a_download_is_recognised(tmp_path, name):
    source = getattr(downloads, name)(tmp_path / "a" / "b")
    for folder in (tmp_path, source):
        assert f"calibeval prepare {name} {folder} DST" in recognise(folder)
    assert recognise(downloads.msd(tmp_path / "m")) == ""


def test_cut_voxels_are_counted_by_class(tmp_path):
    source, out = downloads.flare(tmp_path / "F", cases=1), tmp_path / "out"
    outcome = prepared("flare", source, out, Grid(size=(4, 6, 10)))
    whole, kept = label(0, range(5)), label(0, range(5))[1:5]
    before, cut, shares = outcome.cut
    for value, organ in enumerate(("liver", "kidney", "spleen", "pancreas"), start=1):
        assert before[organ] == (whole == value).sum()
        assert cut[organ] == (whole == value).sum() - (kept == value).sum()
    assert shares == {"train_000": pytest.approx(1 - (kept > 0).sum() / (whole > 0).sum())}
    found = Nifti1Image.from_filename(out / "labelsTr" / "train_000.nii.gz")
    np.testing.assert_array_equal(np.asarray(found.dataobj)[:, :, 3:7], kept)
    np.testing.assert_allclose(found.affine @ [0, 0, 3, 1], AFFINE @ [1, 0, 0, 1])
    assert prepared("flare", source, out, Grid(size=(4, 6, 10))).cut == outcome.cut  # known of what was done before


def test_around_the_foreground(tmp_path):
    source, out = downloads.flare(tmp_path / "F", cases=1), tmp_path / "out"
    mask = np.zeros(SHAPE, np.uint8)
    mask[5:7, 0, 1] = 3
    write(source / "TrainingMask" / "train_000.nii.gz", mask)
    outcome = prepared("flare", source, out, Grid(size=(3, 3), around=FOREGROUND))
    assert not outcome.cut[1]
    np.testing.assert_array_equal(voxels_at(out / "labelsTr" / "train_000.nii.gz", (4, 0, 0)), mask[4:7, :3])
    np.testing.assert_array_equal(voxels_at(out / "imagesTr" / "train_000_0000.nii.gz", (4, 0, 0)), image(0)[4:7, :3])
    centre = voxels_at(out / "imagesTs" / "validation_001_0000.nii.gz", (2, 1, 0))  # has no label
    np.testing.assert_array_equal(centre, image(50)[2:5, 1:4])


def voxels_at(path, first):
    """Values of a file whose first voxel lies where that one of the source lay."""
    found = Nifti1Image.from_filename(path)
    np.testing.assert_allclose(found.affine[:3, :3], AFFINE[:3, :3], rtol=1e-6)
    np.testing.assert_allclose(found.affine[:3, 3], (AFFINE @ [*first, 1])[:3], rtol=1e-6)
    return np.asarray(found.dataobj)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_costs_its_case(tmp_path):
    source = downloads.flare(tmp_path / "F")
    (source / "TrainingImg" / "train_000_0000.nii.gz").chmod(0)
    prepared("flare", source, tmp_path / "out", code=1)


def test_uncompressed_and_big_endian_files(tmp_path):
    source, out = downloads.flare(tmp_path / "F", dtype=">i2"), tmp_path / "out"
    path = source / "TrainingImg" / "train_001_0000.nii.gz"
    path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    path.unlink()
    prepared("flare", source, out)
    np.testing.assert_array_equal(voxels(out / "imagesTr" / "train_001_0000.nii.gz"), image(1))
