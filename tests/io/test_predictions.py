"""What a prediction is taken for, and the order, scale and spacing that follow from it."""

import gzip

import nibabel
import numpy as np
import pytest

from calibeval import score_case
from calibeval.errors import InputError
from calibeval.io.cases import open_case
from calibeval.io.classes import ClassScheme
from calibeval.io.pairing import CasePaths
from calibeval.io.predictions import ReadOptions
from calibeval.metrics.statistics import MAX_CLASSES
from tests.case_files import (
    AFFINE,
    NAMES,
    SPACING,
    make_case,
    values_of,
    write_names,
    write_nifti,
    write_npz,
    write_png,
)

PROBABILITIES, LABEL = make_case()
NAMED = ClassScheme(NAMES)


@pytest.fixture
def opened(tmp_path):
    """Open one case whose label is a NIfTI; the prediction is written by the test."""
    label = write_nifti(tmp_path / "label.nii.gz", LABEL)

    def open_(*files, scheme=NAMED, classes=(), label=label, **options):
        return open_case(CasePaths("c", files, classes, reference=label), scheme, ReadOptions(**options))

    return open_


def planes_of(case):
    """All planes of a case."""
    found = np.empty((case.source.classes, case.source.voxels))
    for chunk in case.source.chunks():
        found[chunk.class_index, chunk.start : chunk.start + chunk.values.size] = chunk.values
    return found.reshape(-1, *case.reference.shape)


@pytest.mark.parametrize("kind", ["probabilities", "labels"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_user_s_word_counts_where_values_could_be_either(kind, dtype, opened, tmp_path):
    mask = write_nifti(tmp_path / "p.nii.gz", (LABEL > 0).astype(dtype))
    case = opened(
        mask, scheme=ClassScheme(("b", "f", "g")[: 2 + (kind == "labels")]), input=kind, scale=1.0, label=mask
    )
    assert (case.source is None) == (kind == "labels")


@pytest.mark.parametrize(
    ("values", "taken_for"),
    [
        (np.linspace(0, 1, 120), "probabilities"),
        (np.linspace(-1e-7, 1 + 1e-7, 120), "probabilities"),
        (np.repeat([0.0, 1.0], 60), "labels"),
        (np.repeat([0.0, 2.0001], 60), "labels"),
        (np.zeros(120), "labels"),
    ],
)
def test_a_float_map_is_told_by_its_values(values, taken_for, opened, tmp_path):
    path = write_nifti(tmp_path / "p.nii.gz", values.reshape(LABEL.shape))
    scheme = ClassScheme(("b", "f") if taken_for == "probabilities" else NAMES)
    label = write_nifti(tmp_path / "l.nii.gz", (LABEL > 1).astype(np.uint8))
    assert (opened(path, scheme=scheme, label=label).source is None) == (taken_for == "labels")


@pytest.mark.parametrize("bad", [np.nan, 7.5, -0.5])
def test_a_float_map_that_is_neither_is_refused(bad, opened, tmp_path):
    values = np.full(LABEL.shape, 0.5)
    values[0, 0, 0] = bad
    with pytest.raises(InputError, match="expected a label map of integers"):
        opened(write_nifti(tmp_path / "p.nii.gz", values))


@pytest.mark.parametrize(
    ("largest", "names", "taken_for"),
    [(1, ("b", "f"), "labels"), (15, (), "labels"), (255, (), "probabilities"), (255, ("b", "f"), "probabilities")],
)
def test_an_8_bit_png_is_told_by_its_range(largest, names, taken_for, opened, tmp_path):
    values = np.zeros((5, 6), np.uint8)
    values[0, 0] = largest
    label = write_png(tmp_path / "l.png", (values > 0).astype(np.uint8))
    case = opened(write_png(tmp_path / "p.png", values), scheme=ClassScheme(names), label=label)
    assert (case.source is None) == (taken_for == "labels")
    if taken_for == "probabilities":
        np.testing.assert_array_equal(planes_of(case)[1], values / 255)
        assert case.notes[0] == "read as value/255"


@pytest.mark.parametrize("planes", [MAX_CLASSES + 1, 300])
def test_more_classes_than_labels_can_hold_are_refused(planes, opened, tmp_path):
    maps = np.full((planes, *LABEL.shape), 1 / planes, np.float32)
    path = write_npz(tmp_path / "c.npz", probabilities=maps)
    with pytest.raises(InputError, match=f"holds {planes} classes; at most {MAX_CLASSES} can be scored at a time"):
        opened(path, scheme=ClassScheme())


def test_maps_that_sum_to_one_do_not_lack_the_background(tmp_path, cli):
    """Three maps where dataset.json names four classes: all would be taken for the next one."""
    write_npz(tmp_path / "m" / "c.npz", probabilities=PROBABILITIES)
    write_nifti(tmp_path / "labels" / "c.nii.gz", LABEL)
    write_names(tmp_path / "labels", {name: value for value, name in enumerate((*NAMES, "fourth"))})
    outcome = cli("score", tmp_path / "m", tmp_path / "labels")
    assert outcome.code == 2
    assert "the 3 maps sum to 1, so the background is among them: 3 classes, not 4" in outcome.err


def test_maps_are_no_labels_whatever_the_user_says(opened, tmp_path):
    path = write_nifti(tmp_path / "p.nii.gz", PROBABILITIES)
    with pytest.raises(InputError, match="holds 3 maps, not labels"):
        opened(path, input="labels")


def test_logits_without_background_are_refused(opened, tmp_path):
    """Their softmax would leave nothing to the background."""
    path = write_nifti(tmp_path / "p.nii.gz", PROBABILITIES[1:])
    np.testing.assert_allclose(planes_of(opened(path)), PROBABILITIES, atol=1e-7)
    with pytest.raises(InputError, match=r"holds 2 classes, but .* gives 3"):
        opened(path, input="logits")


def test_the_logit_of_the_foreground_alone_goes_through_a_sigmoid(opened, tmp_path):
    path = write_nifti(tmp_path / "p.nii.gz", np.full(LABEL.shape, np.log(3)))
    label = write_nifti(tmp_path / "l.nii.gz", (LABEL > 1).astype(np.uint8))
    found = planes_of(opened(path, scheme=ClassScheme(("b", "f")), input="logits", label=label))
    np.testing.assert_allclose(found[:, 0, 0, 0], [0.25, 0.75])


def test_class_files_are_stacked_by_number_and_not_by_letter(opened, tmp_path):
    n = 12
    planes = np.random.default_rng(0).dirichlet(np.ones(n), LABEL.shape).transpose(3, 0, 1, 2)
    files = [write_nifti(tmp_path / f"p{c}.nii.gz", plane) for c, plane in enumerate(planes)]
    numbers = tuple(str(c) for c in range(n))
    case = opened(*files, classes=numbers, scheme=ClassScheme(tuple(f"c{c}" for c in range(n))))
    np.testing.assert_array_equal(planes_of(case), planes)


@pytest.mark.parametrize(("numbers", "missing"), [(("0000", "0002"), 1), (("0002", "0003"), 1), (("0001", "0003"), 2)])
def test_a_class_file_that_is_missing_is_named(numbers, missing, opened, tmp_path):
    files = [write_nifti(tmp_path / f"p{number}.nii.gz", PROBABILITIES[0]) for number in numbers]
    with pytest.raises(InputError, match=f"number {missing} is missing"):
        opened(*files, classes=numbers)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("background", "RV"), "no file of the class LV"),
        (("background", "RV", "LV", "spleen"), r"named after LV, RV, background, spleen; known classes .*--classes"),
    ],
)
def test_class_files_must_fit_the_names(names, message, opened, tmp_path):
    files = [write_nifti(tmp_path / f"p{name}.nii.gz", PROBABILITIES[0]) for name in names]
    with pytest.raises(InputError, match=message):
        opened(*files, classes=names)


def test_a_class_file_holds_one_class(opened, tmp_path):
    files = [write_nifti(tmp_path / f"p{c}.nii.gz", PROBABILITIES) for c in range(3)]
    with pytest.raises(InputError, match="holds 3 classes where one was expected"):
        opened(*files, classes=("0", "1", "2"))


def test_class_files_of_8_bits_say_how_they_were_read(opened, tmp_path):
    files = [
        write_nifti(tmp_path / f"p{c}.nii.gz", np.rint(p * 255).astype(np.uint8)) for c, p in enumerate(PROBABILITIES)
    ]
    case = opened(*files, classes=("0", "1", "2"))
    assert case.notes == ("read as value/255",)
    np.testing.assert_allclose(planes_of(case), PROBABILITIES, atol=0.002)


def test_bids_names_files_after_the_table_of_classes(tmp_path, scored):
    labels, preds = tmp_path / "labels", tmp_path / "m"
    write_nifti(labels / "sub-01" / "anat" / "sub-01_dseg.nii.gz", np.array([0, 3, 7], np.uint8)[LABEL])
    write_nifti(labels / "sub-01" / "anat" / "sub-01_T1w.nii.gz", LABEL)
    (labels / "dseg.tsv").write_text("index\tname\tabbreviation\n3\tright ventricle\tRV\n7\tleft ventricle\tLV\n")
    for name, plane in zip(NAMES[1:], PROBABILITIES[1:], strict=True):
        write_nifti(preds / "sub-01" / "anat" / f"sub-01_space-orig_label-{name}_probseg.nii.gz", plane)
    (labels / "sub-01" / "anat" / "sub-01_dseg.nii.gz").rename(
        labels / "sub-01" / "anat" / "sub-01_space-orig_desc-manual_dseg.nii.gz"
    )
    frame = scored(preds, labels)
    expected = score_case(PROBABILITIES, LABEL, spacing_mm=SPACING, classes=NAMES, case="sub-01_space-orig")
    assert values_of(frame[frame["case"] != "pooled"]) == pytest.approx(values_of(expected.table), rel=1e-7)


def test_the_header_s_intercept_counts(opened, tmp_path):
    stored = np.rint(PROBABILITIES * 64 + 10).astype(np.int16)
    image = nibabel.Nifti1Image(stored.T, AFFINE, dtype=np.int16)
    image.header.set_slope_inter(1 / 64, -10 / 64)
    nibabel.save(image, tmp_path / "p.nii.gz")
    np.testing.assert_allclose(planes_of(opened(tmp_path / "p.nii.gz")), PROBABILITIES, atol=1e-7)


def test_scaled_labels_are_labels(opened, tmp_path):
    image = nibabel.Nifti1Image((LABEL * 10).T, AFFINE, dtype=np.uint8)
    image.header.set_slope_inter(0.1, 0)
    nibabel.save(image, tmp_path / "p.nii.gz")
    np.testing.assert_array_equal(opened(tmp_path / "p.nii.gz").predicted, LABEL)


def test_a_gzip_padded_with_zeros_is_whole(opened, tmp_path):
    path = write_nifti(tmp_path / "p.nii.gz", PROBABILITIES)
    path.write_bytes(path.read_bytes() + bytes(512))
    assert gzip.decompress(path.read_bytes())
    np.testing.assert_array_equal(planes_of(opened(path)), PROBABILITIES)


@pytest.mark.parametrize("turned", [False, True])
def test_a_label_without_geometry_takes_the_prediction_s_spacing_along_its_own_axes(turned, opened, tmp_path):
    """An array may run x, y, z where the image runs z, y, x."""
    label = write_npz(tmp_path / "l.npz", label=LABEL.T if turned else LABEL)
    case = opened(write_nifti(tmp_path / "p.nii.gz", PROBABILITIES), label=label)
    assert case.spacing_mm == pytest.approx(SPACING[::-1] if turned else SPACING)
    np.testing.assert_array_equal(planes_of(case), PROBABILITIES.transpose(0, 3, 2, 1) if turned else PROBABILITIES)


def test_a_folder_where_a_manifest_names_a_file_is_refused(tmp_path, cli):
    write_nifti(tmp_path / "l.nii.gz", LABEL)
    write_nifti(tmp_path / "good.nii.gz", PROBABILITIES)
    write_names(tmp_path)
    (tmp_path / "p.nii.gz").mkdir()
    (tmp_path / "cases.csv").write_text(
        "case,prediction,reference\na,p.nii.gz,l.nii.gz\nb,good.nii.gz,l.nii.gz\nc,good.nii.gz,p.nii.gz\n"
    )
    outcome = cli("score", "--manifest", "cases.csv")
    assert outcome.code == 3
    assert "cases/a: p.nii.gz: is a folder where a file is expected." in outcome.err
    assert "cases/c: p.nii.gz: is a folder where a file is expected." in outcome.err
