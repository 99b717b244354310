"""Every input convention, each file as its tool writes it: the numbers must be those of the arrays."""

import numpy as np
import pandas as pd
import pytest

from calibeval import score_case
from tests import EXACT
from tests.case_files import (
    NAMES,
    SPACING,
    make_case,
    values_of,
    write_itk,
    write_names,
    write_nifti,
    write_npz,
    write_png,
)

PROBABILITIES, LABEL = make_case()
ARGMAX = PROBABILITIES.argmax(axis=0).astype(np.uint8)


def expected(probabilities=PROBABILITIES, label=LABEL, spacing=SPACING, **choices):
    """The numbers of the arrays themselves."""
    choices = {"classes": NAMES, "metrics": "all", "case": "c", "spacing_mm": spacing} | choices
    return values_of(score_case(probabilities, label, **choices).table)


def found(frame):
    """The numbers of the table's only case."""
    return values_of(frame[frame["case"] != "pooled"])


def put_label(folder, label=LABEL):
    write_nifti(folder / "labels" / "c.nii.gz", label)
    write_names(folder / "labels")
    return folder / "m", folder / "labels"


def nnunet_v2(folder):
    write_npz(folder / "c.npz", probabilities=PROBABILITIES)
    write_nifti(folder / "c.nii.gz", ARGMAX)
    (folder / "c.pkl").write_bytes(b"not a pickle: whoever opens it fails")


def nnunet_v1(folder):
    write_npz(folder / "c.npz", softmax=PROBABILITIES)
    write_nifti(folder / "c.nii.gz", ARGMAX)


def stored_npz(folder):
    write_npz(folder / "c.npz", compress=False, probabilities=PROBABILITIES)


def fortran_npz(folder):
    write_npz(folder / "c.npz", probabilities=np.asfortranarray(PROBABILITIES))


def nifti_like_npz(folder):
    write_npz(folder / "c.npz", probs=PROBABILITIES.T)


def npy(folder):
    folder.mkdir()
    np.save(folder / "c.npy", PROBABILITIES)


def nifti(folder):
    write_nifti(folder / "c.nii.gz", PROBABILITIES)


def nifti_plain(folder):
    write_nifti(folder / "c.nii", PROBABILITIES)


def nifti_five_axes(folder):
    write_nifti(folder / "c.nii.gz", PROBABILITIES[:, None])


def nifti_big_endian(folder):
    write_nifti(folder / "c.nii.gz", PROBABILITIES, endian=">")


def nifti_float64(folder):
    write_nifti(folder / "c.nii.gz", PROBABILITIES.astype(np.float64))


def nifti_itk_vector(folder):
    write_itk(folder / "c.nii.gz", PROBABILITIES, vector=True)


def one_file_a_class(folder):
    for c, plane in enumerate(PROBABILITIES):
        write_nifti(folder / f"c_{c:04d}.nii.gz", plane)


def bids(folder):
    for name, plane in zip(NAMES, PROBABILITIES, strict=True):
        write_nifti(folder / f"c_label-{name}_probseg.nii.gz", plane)


def mha_vector(folder):
    write_itk(folder / "c.mha", PROBABILITIES, vector=True)


def mha_compressed(folder):
    write_itk(folder / "c.mha", PROBABILITIES, vector=True, compress=True)


def mha_four_axes(folder):
    write_itk(folder / "c.mha", PROBABILITIES)


def mhd(folder):
    write_itk(folder / "c.mhd", PROBABILITIES, vector=True)


def nrrd_vector(folder):
    write_itk(folder / "c.nrrd", PROBABILITIES, vector=True)


def nrrd_four_axes(folder):
    write_itk(folder / "c.nrrd", PROBABILITIES, compress=True)


def without_background(folder):
    write_nifti(folder / "c.nii.gz", PROBABILITIES[1:])


CONVENTIONS = [
    nnunet_v2, nnunet_v1, stored_npz, fortran_npz, nifti_like_npz, npy, nifti, nifti_plain, nifti_five_axes,
    nifti_big_endian, nifti_float64, nifti_itk_vector, one_file_a_class, bids, mha_vector, mha_compressed,
    mha_four_axes, mhd, nrrd_vector, nrrd_four_axes, without_background,
]  # fmt: skip


@pytest.mark.parametrize("write", CONVENTIONS, ids=lambda write: write.__name__)
def test_a_convention_gives_the_numbers_of_the_arrays(write, tmp_path, scored):
    preds, labels = put_label(tmp_path)
    write(preds)
    assert found(scored(preds, labels, "--metrics", "all")) == pytest.approx(expected(), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f2", ">f8"])
def test_every_float_type_in_an_npz_gives_the_same_numbers(dtype, tmp_path, scored):
    preds, labels = put_label(tmp_path)
    write_npz(preds / "c.npz", probabilities=PROBABILITIES.astype(dtype))
    assert found(scored(preds, labels, "--metrics", "all")) == pytest.approx(expected(), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(("dtype", "full"), [(np.uint8, 255), (np.uint16, 65535)])
def test_integers_are_read_as_parts_of_their_range(dtype, full, tmp_path, scored):
    """Multiples of 1/5 are multiples of 1/255 too, so the integers hold the same probabilities."""
    fifths, label = make_case(quantum=10)
    fifths = np.rint(fifths * 5).astype(np.float64)
    fifths[0] += 5 - fifths.sum(axis=0)
    fifths /= 5
    preds, labels = put_label(tmp_path, label)
    write_npz(preds / "c.npz", probabilities=np.rint(fifths * full).astype(dtype))
    assert found(scored(preds, labels, "--metrics", "all")) == pytest.approx(expected(fifths, label), rel=1e-12)


def test_integers_may_be_cut_instead_of_rounded(tmp_path, scored):
    """As `(p * 255).astype(np.uint8)` does, so that the classes sum to less than 255 nearly everywhere."""
    maps = np.random.default_rng(0).dirichlet(np.ones(len(NAMES)), size=LABEL.shape).transpose(3, 0, 1, 2)
    preds, labels = put_label(tmp_path)
    cut = (maps * 255).astype(np.uint8)
    assert cut.sum(axis=0, dtype=int).mean() < 254
    write_npz(preds / "c.npz", probabilities=cut)
    assert set(scored(preds, labels)["status"]) == {"ok"}


def test_scale_divides_what_no_type_tells(tmp_path, scored):
    preds, labels = put_label(tmp_path)
    write_npz(preds / "c.npz", probabilities=(PROBABILITIES * 64).astype(np.int16))
    assert found(scored(preds, labels, "--scale", 64)) == pytest.approx(expected(metrics="default"))


def test_the_header_of_a_nifti_scales(tmp_path, scored):
    preds, labels = put_label(tmp_path)
    write_nifti(preds / "c.nii.gz", PROBABILITIES, dtype=np.uint8, slope=1 / 64)
    assert found(scored(preds, labels)) == pytest.approx(expected(metrics="default"), rel=1e-12)


def test_a_channel_first_nifti_is_known_by_its_shape(tmp_path, scored):
    preds, labels = put_label(tmp_path)
    write_nifti(preds / "c.nii.gz", np.moveaxis(PROBABILITIES, 0, -1))
    assert found(scored(preds, labels)) == expected(metrics="default")


def test_a_channel_first_nifti_that_could_be_channel_last_needs_axes(tmp_path, scored, cli):
    probabilities, label = make_case(shape=(3, 3, 3))
    preds, labels = put_label(tmp_path, label)
    write_nifti(preds / "c.nii.gz", np.moveaxis(probabilities, 0, -1))
    outcome = cli("score", preds, labels)
    assert outcome.code == 2
    assert "(3, 3, 3, 3) can be read as classes last or classes first. Say which with --axes." in outcome.err
    wanted = expected(probabilities, label, metrics="default")
    assert found(scored(preds, labels, "--axes", "cxyz")) == wanted
    write_nifti(preds / "c.nii.gz", probabilities)
    assert found(scored(preds, labels, "--axes", "xyzc")) == wanted


def test_the_sdc_repository_keeps_probabilities_and_label_in_one_file(tmp_path, scored):
    write_npz(tmp_path / "m" / "c.npz", probs=PROBABILITIES, label=LABEL.astype(np.int64))
    frame = scored(tmp_path / "m", "--spacing", "8,1.5,1.25", "--classes", ",".join(NAMES))
    assert found(frame) == expected(metrics="default")


def test_a_spacing_beside_the_label_in_an_npz_is_used(tmp_path, scored):
    write_npz(tmp_path / "m" / "c.npz", probs=PROBABILITIES, label=LABEL, spacing=np.array(SPACING))
    assert found(scored(tmp_path / "m", "--classes", ",".join(NAMES))) == expected(metrics="default")


def test_an_npz_without_geometry_refuses_distances(tmp_path, scored, cli):
    write_npz(tmp_path / "m" / "c.npz", probs=PROBABILITIES, label=LABEL)
    outcome = cli("score", tmp_path / "m", "--metrics", "HD95,ASSD")
    assert "note (1 case): HD95, ASSD not computed: spacing unknown: give --spacing" in outcome.out
    frame = scored(tmp_path / "m", "--metrics", "DSC,HD95")
    distances = frame[frame["metric"] == "HD95"]
    assert set(distances["status"]) == {"not_computed"}
    assert distances["value"].isna().all()
    assert distances["note"].str.contains("--spacing").all()
    assert frame[frame["metric"] == "DSC"]["value"].notna().all()


def test_label_maps_alone_give_overlap_and_distances_and_say_what_is_left_out(tmp_path, cli):
    preds, labels = put_label(tmp_path)
    write_nifti(preds / "c.nii.gz", ARGMAX)
    outcome = cli("score", preds, labels)
    assert outcome.code == 0
    assert "ECE, CECE, pECE, gap, Brier, NLL left out: a label map holds no probabilities" in outcome.out
    frame = pd.read_csv("results/m.csv", comment="#", **EXACT)
    everything = expected(metrics="default")
    assert found(frame) == {key: value for key, value in everything.items() if key[2] in ("DSC", "HD95")}


def test_label_maps_stored_as_floats_are_rounded(tmp_path, scored):
    preds, labels = put_label(tmp_path, np.where(LABEL == 2, 1.9999, LABEL).astype(np.float32))
    write_nifti(preds / "c.nii.gz", ARGMAX.astype(np.float64) + 1e-4)
    frame = scored(preds, labels, "--metrics", "DSC,HD95")
    assert found(frame) == expected(None, predicted=ARGMAX, metrics="DSC,HD95")


def test_one_foreground_map_is_the_probability_of_the_foreground(tmp_path, scored):
    label = (LABEL > 0).astype(np.uint8)
    foreground = 1 - PROBABILITIES[0]
    preds, labels = put_label(tmp_path, label)
    write_names(labels, {"background": 0, "lesion": 1})
    write_nifti(preds / "c.nii.gz", foreground)
    binary = np.stack([1 - foreground, foreground])
    assert found(scored(preds, labels)) == pytest.approx(
        expected(binary, label, classes=("background", "lesion"), metrics="default")
    )


def test_png_masks_and_maps_are_two_dimensional(tmp_path, scored):
    label = (LABEL[0] > 0).astype(np.uint8)
    levels = np.where(label == 1, 204, 51).astype(np.uint8)
    levels[0, 0] = 255 - levels[0, 0]
    write_png(tmp_path / "labels" / "c.png", label)
    write_png(tmp_path / "m" / "c.png", levels)
    foreground = levels / 255
    frame = scored(tmp_path / "m", tmp_path / "labels", "--spacing", "0.5,2", "--classes", "b,f")
    binary = np.stack([1 - foreground, foreground])
    wanted = expected(binary, label, spacing=(2, 0.5), classes=("b", "f"), metrics="default")
    assert found(frame) == pytest.approx(wanted)


def test_a_slice_in_three_dimensions_is_a_plane(tmp_path, scored):
    flat, plane = PROBABILITIES[:, :1], LABEL[:1]
    preds, labels = put_label(tmp_path, plane)
    write_nifti(preds / "c.nii.gz", flat)
    assert found(scored(preds, labels)) == expected(flat[:, 0], plane[0], spacing=SPACING[1:], metrics="default")


@pytest.mark.parametrize("ending", ["mha", "nrrd", "nii.gz"])
def test_an_itk_file_lies_where_the_nifti_of_the_same_image_lies(ending, tmp_path, scored):
    """ITK counts x and y the other way round (LPS+); both describe the same place."""
    write_itk(tmp_path / "labels" / f"c.{ending}", LABEL)
    write_names(tmp_path / "labels")
    write_nifti(tmp_path / "m" / "c.nii.gz", PROBABILITIES)
    assert found(scored(tmp_path / "m", tmp_path / "labels")) == expected(metrics="default")


def test_spacing_on_the_command_line_has_the_order_of_the_file(tmp_path, scored):
    preds, labels = put_label(tmp_path)
    write_nifti(preds / "c.nii.gz", PROBABILITIES)
    frame = scored(preds, labels, "--spacing", "1,2,3")
    assert found(frame) == expected(spacing=(3, 2, 1), metrics="default")
