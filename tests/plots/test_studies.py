import numpy as np
import pytest

pytest.importorskip("matplotlib")

from calibeval.plots import studies


def close(found, expected):
    return np.asarray(found, np.float64).tolist() == pytest.approx(expected)


def test_convergence_is_the_mean_over_runs_and_a_run_may_stop_early():
    axes = studies.convergence({"a": [np.array([0.1, 0.3]), np.array([0.3])], "b": [np.array([0.5, 0.5])]}, "DSC")
    first, second = axes.lines
    assert close(first.get_ydata(), [0.2, 0.3])
    assert close(second.get_ydata(), [0.5, 0.5])


def test_an_epoch_without_a_value_is_left_out():
    axes = studies.convergence({"a": [np.array([np.nan, 0.3])]}, "HD95")
    assert close(axes.lines[0].get_xdata(), [2])


def test_step_times_are_medians_with_their_ratio_to_the_fastest():
    axes = studies.step_times({"a": [0.1, 0.2, 0.9], "b": [0.1, 0.1, 0.1]})
    widths = [bar.get_width() for bar in axes.patches]  # type: ignore[attr-defined]
    assert widths == pytest.approx([200, 100])
    assert [text.get_text() for text in axes.texts] == ["x 2.00", "x 1.00"]


def test_a_heat_map_prints_every_number_and_darkens_the_best_of_a_column():
    axes = studies.heat_map(np.array([[-0.9, 2.0], [-0.8, np.nan]]), ["1", "2"], ["DSC", "HD95"])
    assert [text.get_text() for text in axes.texts] == ["0.9", "2", "0.8", ""]
    assert close(axes.images[0].get_array()[:, 0], [0, 1])


def test_pece_charges_by_hand():
    """Two bins of half the voxels: |.1| and |-.2| alone, |.1 + .4| and |-.2 + .1| with the charge."""
    axes = studies.pece_charges(np.array([0.1, -0.2]), np.array([0.4, 0.1]), np.array([0.5, 0.5]))
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "pECE: sum 0.300", "without the charge: sum 0.150",
    ]  # fmt: skip


def test_no_voxel_lies_above_the_bound():
    random = np.random.default_rng(0)
    stated, true = random.uniform(1e-6, 1 - 1e-6, 9000), random.uniform(-9, 9, 9000)
    _, right = studies.sdf_bound(stated, true, 2.0)
    delta, error = map(np.asarray, right.lines[0].get_data())
    assert len(delta) <= 4000
    assert (error <= 2.0 * delta / 4 + 1e-12).all()


def test_errors_and_bounds_by_hand():
    """p = .5 stands for the outline; at s = ln 3, kappa 1, p* is a quarter."""
    error, delta = studies.errors_and_distances(np.array([0.5]), np.array([np.log(3)]), 1.0)
    assert close(error, [0.25])
    assert close(delta, [np.log(3)])
    axes = studies.case_bounds([(error.mean(), delta.mean() / 4)])
    assert close(axes.lines[1].get_ydata(), [0.25])
