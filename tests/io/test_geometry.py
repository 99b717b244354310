"""Where volumes lie: what counts as the same place, and what a user reads when it is not."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from calibeval.errors import GeometryError
from calibeval.io.geometry import Geometry, check_same_place, make_geometry, orientation_code
from tests.case_files import AFFINE, make_case, read_nifti, write_folders, write_nifti

SHAPE = (6, 5, 4)  # x first


def check(affine, reference=AFFINE):
    check_same_place(Path("p"), make_geometry(affine, SHAPE), Path("r"), make_geometry(reference, SHAPE))


def test_spacing_is_that_of_the_array_slowest_axis_first():
    np.testing.assert_allclose(make_geometry(AFFINE, SHAPE).spacing_mm, (8, 1.5, 1.25))
    np.testing.assert_allclose(make_geometry(AFFINE, (6, 5)).spacing_mm, (1.5, 1.25))
    np.testing.assert_allclose(make_geometry(AFFINE, (6, 5, 4, 3)).spacing_mm, (8, 1.5, 1.25))


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_spacing_that_is_none_is_no_geometry(value):
    affine = AFFINE.copy()
    affine[1, 1] = value
    assert make_geometry(affine, SHAPE) is None


@pytest.mark.parametrize("across", [0.0, 1.0, 8.0, -3.0])
def test_what_stands_across_a_flat_image_places_nothing(across):
    affine = AFFINE.copy()
    affine[2, 2] = across
    check_same_place(Path("p"), make_geometry(affine, (6, 5, 1)), Path("r"), make_geometry(AFFINE, (6, 5)))


@pytest.mark.parametrize("noise", [1e-8, 1e-4])
def test_rounding_in_headers_is_no_difference(noise):
    random = np.random.default_rng(3)
    check(AFFINE + noise * random.standard_normal((4, 4)) * (np.arange(4) < 3)[:, None])


def test_an_origin_far_away_may_be_rounded_but_by_less_than_a_quarter_voxel():
    far = AFFINE.copy()
    far[:3, 3] = 5000
    near = far.copy()
    near[0, 3] += 0.3
    check(near, far)
    near[0, 3] += 0.1  # a quarter of 1.25 mm is .3125
    with pytest.raises(GeometryError):
        check(near, far)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_flipped_axis_is_named_with_advice(axis):
    flipped = AFFINE.copy()
    flipped[:, axis] *= -1
    with pytest.raises(GeometryError) as caught:
        check(flipped)
    expected = "".join(["RAS", "LPI"][k == axis][k] for k in range(3))
    assert orientation_code(AFFINE) == "LAS"
    code = orientation_code(flipped)
    assert code == {0: "RAS", 1: "LPS", 2: "LAI"}[axis], expected
    assert f"its axes run {code}, those of r run LAS" in str(caught.value)
    assert "nibabel.as_closest_canonical" in str(caught.value)


def test_permuted_axes_are_named():
    permuted = AFFINE[:, [1, 0, 2, 3]]
    assert orientation_code(permuted) == "ALS"
    with pytest.raises(GeometryError, match="run ALS"):
        check(permuted)


def test_an_oblique_volume_has_the_nearest_code():
    angle = np.deg2rad(30)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    assert orientation_code(turn) == "RAS"


@pytest.mark.parametrize(
    ("entry", "change", "message"),
    [((0, 3), 1.25, r"\[0,3\]: 21.25 against 20"), ((2, 2), 0.5, r"\[2,2\]: 8.5 against 8")],
)
def test_a_shift_or_another_spacing_names_the_entry(entry, change, message):
    moved = AFFINE.copy()
    moved[entry] += change
    with pytest.raises(GeometryError, match=message) as caught:
        check(moved)
    assert "Resample the prediction onto the label's grid" in str(caught.value)


def test_a_flipped_prediction_costs_its_case_alone(tmp_path, cli):
    preds, labels = write_folders(tmp_path)
    flipped = AFFINE @ np.diag([-1, 1, 1, 1])
    write_nifti(preds / "b.nii.gz", make_case(1)[0], affine=flipped)
    outcome = cli("score", preds, labels)
    assert outcome.code == 3
    assert f"m/b: {preds / 'b.nii.gz'}: its axes run RAS, those of {labels / 'b.nii.gz'} run LAS" in outcome.err


def test_a_label_map_beside_the_probabilities_must_lie_with_the_label(tmp_path, cli):
    preds, labels = write_folders(tmp_path, cases=1)
    probabilities, _ = make_case(0)
    np.savez(preds / "a.npz", probabilities=probabilities)
    shifted = AFFINE.copy()
    shifted[0, 3] += 5
    write_nifti(preds / "a.nii.gz", probabilities.argmax(axis=0).astype(np.uint8), affine=shifted)
    outcome = cli("score", preds, labels)
    assert outcome.code == 2
    assert f"{preds / 'a.nii.gz'}: its affine differs" in outcome.err


def test_spacing_on_the_command_line_mends_a_header_without_one(tmp_path, scored):
    preds, labels = write_folders(tmp_path, cases=1)
    image = read_nifti(labels / "a.nii.gz")
    header = image.header.copy()
    header["pixdim"][1:4] = 0
    header["sform_code"] = header["qform_code"] = 0
    broken = nibabel.Nifti1Image(np.asarray(image.dataobj), None, header)
    broken.header["pixdim"][1:4] = 0
    nibabel.save(broken, labels / "a.nii.gz")
    frame = scored(preds, labels, "--spacing", "1.25,1.5,8", "--metrics", "HD95")
    assert (frame[frame["case"] == "a"]["status"] == "ok").all()


def test_geometry_keeps_its_fields():
    assert Geometry(AFFINE, (8.0, 1.5, 1.25)).spacing_mm == (8.0, 1.5, 1.25)


def headed(path, array, *, sform=None, qform=None, mm=(1.25, 1.5, 8.0)):
    """Write (z, y, x) with the forms that are given; without any, both codes are 0 and only `pixdim` is filled in."""
    image = nibabel.Nifti1Image(array.T, None)
    image.header.set_zooms(mm)
    image.header.set_sform(sform, int(sform is not None) * 4)
    image.header.set_qform(qform, int(qform is not None))
    path.parent.mkdir(exist_ok=True)
    nibabel.save(image, path)


def dsc(cli, tmp_path, *, prediction, label):
    """DSC of a label map that equals its label, or the message, and the notes."""
    _, values = make_case()
    headed(tmp_path / "p" / "a.nii.gz", values, **prediction)
    headed(tmp_path / "l" / "a.nii.gz", values, **label)
    return cli("score", "p", "l", "--metrics", "DSC")


TURNED = np.array([[0, -1.5, 0, 7], [1.25, 0, 0, 1], [0, 0, 8, 0], [0, 0, 0, 1.0]])


@pytest.mark.parametrize(
    ("prediction", "label"),
    [
        ({"qform": TURNED}, {"sform": AFFINE, "qform": TURNED}),  # as ITK writes what it read of the label
        ({"sform": AFFINE}, {"sform": AFFINE, "qform": TURNED}),
        ({"sform": TURNED, "qform": AFFINE}, {"sform": AFFINE, "qform": TURNED}),
        ({}, {}),
    ],
)
def test_one_form_that_both_headers_have_is_enough(prediction, label, tmp_path, cli):
    outcome = dsc(cli, tmp_path, prediction=prediction, label=label)
    assert "DSC ↑   1.0000" in outcome.out
    assert "not compared" not in outcome.out


@pytest.mark.parametrize(
    ("prediction", "label", "silent"),
    [
        ({"sform": AFFINE}, {}, "label"),
        ({}, {"sform": AFFINE}, "prediction"),
        ({"mm": (1, 1, 1)}, {"qform": TURNED}, "prediction"),
    ],
)
def test_a_header_without_a_place_is_no_other_place(prediction, label, silent, tmp_path, cli):
    outcome = dsc(cli, tmp_path, prediction=prediction, label=label)
    assert "DSC ↑   1.0000" in outcome.out
    assert f"the {silent} tells no place" in outcome.out


def test_the_size_of_voxels_is_compared_where_the_place_is_not(tmp_path, cli):
    outcome = dsc(cli, tmp_path, prediction={"sform": AFFINE}, label={"mm": (1, 1, 5)})
    assert outcome.code == 2
    assert "its voxels are 8 x 1.5 x 1.25 mm, those of l/a.nii.gz 5 x 1 x 1 mm" in outcome.err
    assert "canonical" not in outcome.err


def test_no_form_agrees(tmp_path, cli):
    outcome = dsc(
        cli, tmp_path, prediction={"sform": np.diag([-1.25, 1.5, 8, 1])}, label={"sform": AFFINE, "qform": TURNED}
    )
    assert outcome.code == 2
    assert "its affine differs" in outcome.err
