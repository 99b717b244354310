"""What is ranked against what: missing values, directions, ranks within a unit, blocks and clusters.

A *unit* is sampled independently of the others: a case, or a data set of which a wide CSV holds one number a metric.
All metrics of a unit belong together, so units are the clusters of every permutation and bootstrap here. Where cases
come in groups, as images of one patient, a group is the unit: see `by_group`.

A *block* is what a Friedman test counts as one observation:

- `case`: a unit is a block. With several metrics its scores are the methods' ranks averaged over the metrics.
- `metric`: each metric of each data set is a block, as published tables have it. Blocks of one data set are then not
  independent, and the data set is the cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import TableError
from calibeval.metrics import METRICS, Better, badness
from calibeval.ranking.scores import ABSENT, FAILED, OK, UNDEFINED, Array, Scores, Unit

Missing = Literal["worst", "drop", "error"]
_FAVOURS = "leaving them out favours a method that misses a structure (see --empty worst)"
_LARGEST = np.finfo(np.float64).max


class Design(NamedTuple):
    """Comparable numbers: lower is better, and a cell is either complete over all methods or left out.

    Attributes:
        methods: k names.
        metrics: m names.
        units: u units; they are the clusters.
        strata: (u,) number of the data set within which a unit may be drawn again.
        values: (u, m, k), lower is better; a failed cell holds the metric's worst value, infinite if it has none.
        keys: (u, m, k) what is ranked: as `values`, but a failed cell lies above every other.
        complete: (u, m) whether all methods have a number.
        ranks: (u, m, k) from 1 for the best, ties averaged; 0 where not complete.
        measured: (u, m, k) whether the value is the method's own, neither failed nor undefined.
        sizes: (u,) cases of each unit that have a number; 1 unless units are groups.
    """

    methods: tuple[str, ...]
    metrics: tuple[str, ...]
    units: tuple[Unit, ...]
    strata: NDArray[np.intp]
    values: Array
    keys: Array
    complete: NDArray[np.bool_]
    ranks: Array
    measured: NDArray[np.bool_]
    sizes: NDArray[np.intp]

    @property
    def grouped(self) -> bool:
        """Whether units are groups of several cases."""
        return bool((self.sizes > 1).any())

    @property
    def n_cases(self) -> int:
        """Cases that count somewhere."""
        return int(self.sizes[self.complete.any(axis=1)].sum())


class Blocks(NamedTuple):
    """Blocks of a Friedman test.

    Attributes:
        scores: (n, k) ranks, or ranks averaged over metrics, of the methods in each block.
        keys: (n, k) what the signed-rank test subtracts: the values if all blocks have one metric, else `scores`.
        cluster: (n,) number of the cluster that a block belongs to.
    """

    scores: Array
    keys: Array
    cluster: NDArray[np.intp]

    @property
    def cluster_scores(self) -> Array:
        """(clusters, k) scores summed over the blocks of a cluster."""
        _, cluster = np.unique(self.cluster, return_inverse=True)
        sums = np.zeros((cluster.max() + 1, self.scores.shape[1]))
        np.add.at(sums, cluster, self.scores)
        return sums


def make_design(scores: Scores, missing: Missing) -> tuple[Design, list[str]]:
    """Settle missing values and rank the methods within each unit and metric.

    A failed or missing cell ranks below every other; under `drop` its unit leaves the metric for all methods. A cell
    that is undefined by the empty rule always does so. Rows that some methods have and others do not are an error
    unless `missing` says what to do. All this is settled case by case; then groups are averaged, see `by_group`.

    Returns:
        The design, and warnings that count what was left out or ranked worst.

    Raises:
        TableError: methods differ in cases, or nothing is left to compare.
    """
    states = _settle_absent(scores, missing)
    failed = states == FAILED
    left_out = (states == UNDEFINED) | (states == ABSENT) | (failed & (missing == "drop"))
    complete = ~left_out.any(axis=2) & ~failed.all(axis=2)
    if not complete.any():
        lost = int(failed.any(axis=(1, 2)).sum())
        raise TableError(
            "No case has a number for every method, so nothing can be compared: of "
            f"{len(scores.units)}, {lost} failed or are missing for some method. See their notes in the tables."
        )
    oriented = lower_is_better(scores.values, scores.better)
    keys = np.where(failed, np.inf, np.minimum(oriented, _LARGEST))
    worst = np.array([worst_bound(name) for name in scores.metrics])[None, :, None]
    design = Design(
        methods=scores.methods,
        metrics=scores.metrics,
        units=scores.units,
        strata=_strata(scores.units, has_cases=scores.has_cases),
        values=np.where(complete[..., None], np.where(failed, worst, oriented), 0.0),
        keys=keys,
        complete=complete,
        ranks=rank_within(keys, complete),
        measured=states == OK,
        sizes=np.ones(len(scores.units), dtype=np.intp),
    )
    design = by_group(design, scores.groups) if scores.groups else design
    lost = failed | _absent(scores) if missing == "drop" else failed
    return design, [*_count_failed(scores, lost, missing), *_count_left_out(scores, states, complete)]


def lower_is_better(values: Array, better: tuple[Better, ...]) -> Array:
    """Turn values (..., metrics, methods) so that lower is better; `zero` ranks by the distance from 0."""
    return np.stack([badness(values[..., j, :], direction) for j, direction in enumerate(better)], axis=-2)


def worst_bound(metric: str) -> float:
    """The worse end of a metric's range once lower is better; infinite when it has no bound."""
    if metric not in METRICS:
        return np.inf
    known = METRICS[metric]
    return max(badness(end, known.better) for end in (known.low, known.high))


def rank_within(keys: Array, complete: NDArray[np.bool_]) -> Array:
    """Ranks over the last axis, 1 for the smallest, ties averaged; 0 where not complete."""
    from scipy.stats import rankdata

    filled = np.where(complete[..., None], keys, 0.0)
    return np.where(complete[..., None], rankdata(filled, axis=-1), 0.0)


def one_metric(design: Design, metric: int) -> Design:
    """The design of one metric alone."""
    return keep_metrics(design, [metric])


def keep_metrics(design: Design, metrics: list[int]) -> Design:
    """The design of some of the metrics, by their numbers."""
    return design._replace(
        metrics=tuple(design.metrics[j] for j in metrics),
        **{name: getattr(design, name)[:, metrics] for name in ("values", "keys", "complete", "ranks", "measured")},
    )


def take_units(design: Design, units: NDArray[np.intp]) -> Design:
    """The design of the units with these numbers, which may repeat."""
    names = ("strata", "values", "keys", "complete", "ranks", "measured", "sizes")
    return design._replace(
        units=tuple(design.units[i] for i in units), **{name: getattr(design, name)[units] for name in names}
    )


def drop_method(design: Design, method: int) -> Design:
    """The design without one method, ranked anew: whoever was worse moves up one rank, whoever tied half a rank."""
    others = [j for j in range(len(design.methods)) if j != method]
    keys, dropped = design.keys[..., others], design.keys[..., [method]]
    moved = design.ranks[..., others] - (dropped < keys) - 0.5 * (dropped == keys)
    return design._replace(
        methods=tuple(design.methods[j] for j in others),
        values=design.values[..., others],
        keys=keys,
        ranks=np.where(design.complete[..., None], moved, 0.0),
        measured=design.measured[..., others],
    )


def case_blocks(design: Design) -> Blocks:
    """One block a unit: ranks averaged over the unit's metrics."""
    used = design.complete.any(axis=1)
    counts = design.complete[used].sum(axis=1)
    scores = design.ranks[used].sum(axis=1) / counts[:, None]
    keys = design.keys[used, 0] if len(design.metrics) == 1 else scores
    return Blocks(scores, keys, np.flatnonzero(used))


def metric_blocks(design: Design) -> Blocks:
    """One block a metric of a unit; the unit is the cluster. Units should be data sets: see `by_data_set`."""
    cluster, _ = np.nonzero(design.complete)
    scores = design.ranks[design.complete]
    keys = design.keys[design.complete] if len(design.metrics) == 1 else scores
    return Blocks(scores, keys, cluster)


def weighted_means(design: Design, weights: Array) -> Array:
    """Means (b, m, k) of the values over units, for weights (b, u); an infinite value of positive weight stays so."""
    u, m, k = design.values.shape
    infinite = np.isinf(design.values)
    finite = np.where(infinite, 0.0, design.values).reshape(u, m * k)
    totals = (weights @ design.complete.astype(np.float64))[..., None]
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (weights @ finite).reshape(-1, m, k) / totals
    if infinite.any():
        means[(weights @ infinite.reshape(u, m * k).astype(np.float64)).reshape(-1, m, k) > 0] = np.inf
    return means


def round_means(means: Array) -> Array:
    """Round to 12 decimals, so that equal cases summed in another order still tie."""
    return np.round(means, 12)


def by_data_set(design: Design) -> Design:
    """Average the units of each data set and rank the averages: a data set becomes a unit."""
    found, _ = _averaged(design, [Unit(unit.dataset, "") for unit in design.units])
    return found


def by_group(design: Design, groups: Sequence[str]) -> Design:
    """Average the cases of each group within its data set and rank the averages: a group becomes a unit.

    A case that a metric leaves out leaves its group's mean for all methods. A method that failed in some case of a
    group has failed in the group: it ranks below every other there, and the failed case enters its mean with the
    metric's worst value. Under `drop` such cases were left out before, and the group's other cases count.
    """
    found, member = _averaged(design, [Unit(u.dataset, group) for u, group in zip(design.units, groups, strict=True)])
    within = design.complete[..., None]
    keys = np.where(_any_of(member, np.isinf(design.keys) & within), np.inf, np.minimum(found.values, _LARGEST))
    return found._replace(
        strata=_strata(found.units, has_cases=True),
        keys=keys,
        ranks=rank_within(keys, found.complete),
        measured=found.complete[..., None] & ~_any_of(member, ~design.measured & within),
    )


def _averaged(design: Design, names: Sequence[Unit]) -> tuple[Design, NDArray[np.bool_]]:
    """Units of one name averaged, and which unit (new, old) went where."""
    units = sorted(set(names))
    place = {name: number for number, name in enumerate(units)}
    member = np.array([place[name] for name in names]) == np.arange(len(units))[:, None]
    complete = _any_of(member, design.complete)
    means = weighted_means(design, member.astype(np.float64))
    values = round_means(np.where(complete[..., None], means, 0.0))
    found = design._replace(
        units=tuple(units),
        strata=np.zeros(len(units), dtype=np.intp),
        values=values,
        keys=values,
        complete=complete,
        ranks=rank_within(values, complete),
        measured=np.broadcast_to(complete[..., None], values.shape),
        sizes=member @ np.where(design.complete.any(axis=1), design.sizes, 0),
    )
    return found, member


def _any_of(member: NDArray[np.bool_], cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether any of the units (u, ...) that make a new one has the mark."""
    return np.asarray(np.tensordot(member.astype(np.intp), cells.astype(np.intp), axes=1) > 0)


def _strata(units: Sequence[Unit], *, has_cases: bool) -> NDArray[np.intp]:
    """Cases are drawn again within their data set; whole data sets among themselves."""
    if not has_cases:
        return np.zeros(len(units), dtype=np.intp)
    return np.unique([unit.dataset for unit in units], return_inverse=True)[1].astype(np.intp)


def _settle_absent(scores: Scores, missing: Missing) -> NDArray[np.int8]:
    """Make absent cells failed, or refuse them, where some other method has the cell."""
    states = scores.states.copy()
    absent = _absent(scores)
    if not absent.any() or missing == "drop":
        return states
    if missing == "error":
        raise TableError(_absent_message(scores, absent))
    states[absent] = FAILED
    return states


def _absent(scores: Scores) -> NDArray[np.bool_]:
    """Cells that some other method has and this one has not."""
    absent = scores.states == ABSENT
    return np.asarray(absent & ~absent.all(axis=2, keepdims=True))


def _absent_message(scores: Scores, absent: NDArray[np.bool_]) -> str:
    unit, metric, method = (int(index[0]) for index in np.nonzero(absent))
    counts = absent.any(axis=1).sum(axis=0)
    listed = ", ".join(f"{name} {count}" for name, count in zip(scores.methods, counts, strict=True) if count)
    what = "cases" if scores.has_cases else "data sets"
    of = f" of {str(scores.units[unit])!r}" if any(scores.units[unit]) else ""
    return (
        f"The methods do not have the same numbers: {scores.methods[method]!r} has no {scores.metrics[metric]}{of}, "
        f"which other methods have ({what} with a gap: {listed}). "
        "Say --missing worst to rank a gap last, or --missing drop to leave such cases out for every method."
    )


def _count_failed(scores: Scores, failed: NDArray[np.bool_], missing: Missing) -> list[str]:
    counts = failed.any(axis=1).sum(axis=0)
    if not counts.any():
        return []
    what = "cases" if scores.has_cases else "data sets"
    listed = ", ".join(f"{name} {count}" for name, count in zip(scores.methods, counts, strict=True) if count)
    done = "left out for every method" if missing == "drop" else "ranked below all others"
    return [f"Failed or missing {what}, {done}: {listed}."]


def _count_left_out(scores: Scores, states: NDArray[np.int8], complete: NDArray[np.bool_]) -> list[str]:
    """Say which numbers the empty rule left out, and for how many cases that hit some methods only."""
    undefined = (states == UNDEFINED).any(axis=2) & ~complete
    partly = undefined & (states == OK).any(axis=2)
    warnings = []
    for j, metric in enumerate(scores.metrics):
        if undefined[:, j].any():
            text = f"{metric} is undefined in {undefined[:, j].sum()} of {len(scores.units)} cases, left out for all."
            if partly[:, j].any():
                text += f" In {partly[:, j].sum()} of them only some methods have no value"
                text += f": {_FAVOURS}." if metric in METRICS and METRICS[metric].of_masks else "."
            warnings.append(text)
        uneven = int((scores.uneven & complete)[:, j].sum())
        if uneven:
            warnings.append(
                f"{metric}: in {uneven} of {len(scores.units)} cases the mean over classes leaves out a class for some "
                f"methods only: {_FAVOURS}."
            )
    return warnings
