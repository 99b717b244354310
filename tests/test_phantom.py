"""The sample data: reproducible, honest, small, and in the repository as generated."""

import numpy as np
import pytest

from calibeval.phantom import CLASSES, METHODS, SPACING_MM, make_case, sharpen, write_sample_data
from tests import SAMPLE
from tests.case_files import read_nifti


def test_equal_seeds_give_equal_cases():
    one, two = make_case(3), make_case(3)
    for a, b in zip(one[1:], two[1:], strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(one.label, make_case(4).label)


@pytest.mark.parametrize("index", [1, 7])
def test_probabilities_sum_to_one_exactly(index):
    case = make_case(index)
    for power in METHODS.values():
        p = sharpen(case.probabilities, power)
        assert p.dtype == np.float32
        assert p.min() >= 0
        np.testing.assert_array_equal(p.sum(axis=0, dtype=np.float64), 1)


def test_labels_are_drawn_from_the_probabilities():
    """Over many cases each class is as frequent as its mean probability says, within four standard errors."""
    cases = [make_case(index, seed=99) for index in range(60)]
    for c in range(len(CLASSES)):
        gaps = [(case.label == c).mean() - case.probabilities[c].mean(dtype=np.float64) for case in cases]
        assert abs(np.mean(gaps)) < 4 * np.std(gaps) / np.sqrt(len(gaps))


def test_methods_differ_in_confidence_and_not_in_masks():
    case = make_case(1)
    confidence = {}
    for method, power in METHODS.items():
        p = sharpen(case.probabilities, power)
        differ = p.argmax(axis=0) != case.probabilities.argmax(axis=0)
        assert differ.mean() < 1e-3  # ties after rounding
        confidence[method] = p.max(axis=0).mean()
    assert confidence["underconfident"] < confidence["calibrated"] < confidence["overconfident"]


def test_the_repository_holds_what_the_generator_writes(tmp_path):
    write_sample_data(tmp_path)
    names = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(SAMPLE) for path in SAMPLE.rglob("*") if path.is_file())
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*")) < 8e6
    for name in names:
        if name.suffix == ".gz":
            ours, theirs = read_nifti(tmp_path / name), read_nifti(SAMPLE / name)
            np.testing.assert_array_equal(np.asanyarray(ours.dataobj), np.asanyarray(theirs.dataobj))
            np.testing.assert_array_equal(ours.affine, theirs.affine)


def test_files_are_as_nnunet_wants_them():
    image = read_nifti(SAMPLE / "preds" / "calibrated" / "phantom_001.nii.gz")
    assert image.shape == (64, 64, 8, 4)
    assert image.header.get_zooms()[:3] == pytest.approx(SPACING_MM[::-1])
    assert image.header.get_xyzt_units()[0] == "mm"
    assert (SAMPLE / "imagesTr" / "phantom_001_0000.nii.gz").exists()
    assert (SAMPLE / "dataset.json").exists()
