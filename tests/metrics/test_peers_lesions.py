"""Lesions beside other tools: equal where their definition is the named one; where they err, their value is asserted.

`brats-evaluation` and `panoptica` need an older pandas than the rest: the extra `lesion-oracles`, in an environment of
its own.
"""

import contextlib
import io
import json
import math

import numpy as np
import pytest

from calibeval.metrics.lesions import LESION_FUNCTIONS, match_lesions
from calibeval.protocol import make_protocol

pytest.importorskip("cc3d")
UNIT = (1.0, 1.0, 1.0)


def blobs(seed, shape=(30, 30, 20)):
    """A reference and a prediction with about ten lesions each, some alike, some split, some alone."""
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(seed)
    rough, fine = (gaussian_filter(random.normal(size=shape), width) for width in (2.0, 1.2))
    rough, fine = rough / rough.std(), fine / fine.std()
    return rough > 1.3, rough + 0.35 * fine > 1.35


def numbers(reference, predicted, **choices):
    match = match_lesions(reference, predicted, make_protocol(**choices), spacing_mm=UNIT)
    return {name: function(match, UNIT) for name, function in LESION_FUNCTIONS.items()}


# --- MONAI -----------------------------------------------------------------------------------------------------------


def monai_cc_dice(reference, predicted):
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    pair = [torch.tensor(np.stack([~mask, mask])[None].astype(np.float32)) for mask in (predicted, reference)]
    with pytest.warns(UserWarning, match="Voronoi"):
        return float(metrics.DiceMetric(include_background=False, per_component=True)(*pair))


@pytest.mark.parametrize("seed", range(4))
def test_dice_by_component_is_monai_s(seed):
    """On masks where no voxel is as near to two lesions as MONAI's distance map breaks such ties its own way."""
    reference, predicted = blobs(seed)
    found = numbers(reference, predicted)["CC_DSC"]
    assert found == pytest.approx(monai_cc_dice(reference, predicted), abs=2e-3)


def test_monai_s_cells_are_in_voxels():
    """A voxel 3 rows (3 mm) from one lesion and 2 slices (10 mm) from the other: MONAI gives it to the second."""
    reference, predicted = np.zeros((8, 12, 12), bool), np.zeros((8, 12, 12), bool)
    reference[4, 2, 5] = reference[6, 5, 5] = True
    predicted[4, 5, 5] = predicted[4, 2, 5] = predicted[6, 5, 5] = True
    spacing = (5.0, 1.0, 1.0)
    match = match_lesions(reference, predicted, make_protocol(), spacing_mm=spacing)
    assert LESION_FUNCTIONS["CC_DSC"](match, spacing) == pytest.approx((2 / 3 + 1) / 2)
    assert LESION_FUNCTIONS["CC_DSC"](match, UNIT) == pytest.approx((1 + 2 / 3) / 2)
    assert monai_cc_dice(reference, predicted) == pytest.approx((1 + 2 / 3) / 2)
    predicted[6, 5, 5] = False  # now the cells differ in what they hold
    match = match_lesions(reference, predicted, make_protocol(), spacing_mm=spacing)
    assert LESION_FUNCTIONS["CC_DSC"](match, spacing) == pytest.approx((2 / 3 + 0) / 2)
    assert monai_cc_dice(reference, predicted) == pytest.approx((1 + 0) / 2)


# --- brats-evaluation, which is panoptica ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def brats():
    """The table row of BraTS 2026's own evaluation of one mask, by its configuration and its parser."""
    parser = pytest.importorskip("brats_evaluation.metrics_parser")
    panoptica = pytest.importorskip("panoptica")
    import pandas as pd

    folder = pytest.importorskip("pathlib").Path(parser.__file__).parent / "configs"
    with contextlib.redirect_stdout(io.StringIO()):
        known = {
            name: panoptica.Panoptica_Evaluator.load_from_config(str(folder / f"config_{name}.yaml"))
            for name in ("gli", "mets")
        }

    def evaluate(name, reference, predicted, folder):
        with contextlib.redirect_stdout(io.StringIO()):
            et = known[name].evaluate(*(3 * mask.astype(np.uint8) for mask in (predicted, reference)))["et"]
            (folder / "a.json").write_text(json.dumps({"metrics": [{"et": et.to_dict(True), "subject_name": "x"}]}))
            if name == "gli":
                parser.parse_seg_results(str(folder / "a.json"), str(folder / "a.csv"))
            else:
                parser.parse_mets_results(str(folder / "a.json"), 20.0, 0.1, str(folder / "a.csv"))
        row = pd.read_csv(folder / "a.csv").iloc[0]
        size = "all" if name == "gli" else "large"
        names = {"lesion_F1": "f1", "lesion_recall": "rec", "lesion_precision": "prec"}
        found = {ours: float(row[f"{size}_instance_{theirs}_et"]) for ours, theirs in names.items()}
        return found | {"lesion_DSC": row["lesionwise_dsc_mean_et"], "lesion_FP": row["all_instance_fp_et"]}

    return evaluate


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["gli", "mets"])
@pytest.mark.parametrize("seed", range(6))
def test_lesions_are_those_of_brats_2026(name, seed, brats, tmp_path):
    reference, predicted = blobs(seed)
    expected = brats(name, reference, predicted, tmp_path)
    found = numbers(reference, predicted, matching=f"brats26-{name}")
    assert {key: found[key] for key in expected} == pytest.approx(expected, rel=1e-12, nan_ok=True)


@pytest.mark.filterwarnings("ignore")
def test_where_brats_26_mets_says_otherwise(brats, tmp_path):
    """False positives in a case without a lesion cost nothing there; a precision of nothing predicted is 0 there."""
    some, none = blobs(0)[0], np.zeros((30, 30, 20), bool)
    theirs, ours = brats("mets", none, some, tmp_path), numbers(none, some, matching="brats26-mets")
    assert math.isnan(theirs["lesion_F1"])
    assert (ours["lesion_F1"], ours["lesion_FP"]) == (0, theirs["lesion_FP"])
    theirs, ours = brats("mets", some, none, tmp_path), numbers(some, none, matching="brats26-mets")
    assert (theirs["lesion_precision"], theirs["lesion_F1"], ours["lesion_F1"]) == (0, 0, 0)
    assert math.isnan(ours["lesion_precision"])


@pytest.mark.filterwarnings("ignore")
def panoptic_quality(reference, predicted, *, strict):
    panoptica = pytest.importorskip("panoptica")
    evaluator = panoptica.Panoptica_Evaluator(
        expected_input=panoptica.InputType.SEMANTIC,
        instance_approximator=panoptica.ConnectedComponentsInstanceApproximator(),
        instance_matcher=panoptica.NaiveThresholdMatching(strict_threshold=strict),
    )
    with contextlib.redirect_stdout(io.StringIO()):
        result = evaluator.evaluate(predicted.astype(np.uint8), reference.astype(np.uint8))["ungrouped"]
    return [result.pq, result.sq, result.rq]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(4))
def test_panoptic_quality_is_panoptica_s(seed):
    reference, predicted = blobs(seed)
    found = numbers(reference, predicted)
    expected = panoptic_quality(reference, predicted, strict=True)
    assert [found["PQ"], found["SQ"], found["RQ"]] == pytest.approx(expected, rel=1e-12)


@pytest.mark.filterwarnings("ignore")
def test_panoptica_takes_an_iou_of_one_half():
    """Its authors' definition is above one half, which alone makes pairs unique."""
    reference, predicted = np.zeros((4, 6, 6), bool), np.zeros((4, 6, 6), bool)
    reference[1, 1, 1:5], predicted[1, 1, 1:3] = True, True
    assert panoptic_quality(reference, predicted, strict=False) == [0.5, 0.5, 1]
    assert numbers(reference, predicted)["PQ"] == 0
