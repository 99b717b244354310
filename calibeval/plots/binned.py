"""Reliability curves as numbers: from the statistics of cases to says, is right, and a band over cases."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.bins import BinTable, bins_path, read_bins
from calibeval.confidence import UNTOLD, verdict_of
from calibeval.errors import UsageError
from calibeval.metrics.intervals import LEAST, group_means, mean_interval, resample
from calibeval.metrics.statistics import Edges, Statistics, cell_edges
from calibeval.signature import Signature
from calibeval.table import ALL, BINS_SUFFIX, read_table
from calibeval.wording import some_of

BOUNDARY = "boundary"
_DRAWS = 500
_HALF = 0.5
_CLOSE = 1e-6
_NEAR = 0.03  # gap that whole percents may round away

Float = NDArray[np.float64]


class Curve(NamedTuple):
    """What a method says and how often it is right.

    Attributes:
        says: (M,) mean probability of each bin, over the voxels of all cases; NaN without a voxel.
        right: (M,) share of them where it is true.
        low: (M,) end of the 95% band of `right`, cases drawn again; NaN for fewer than five.
        high: (M,) other end.
        voxels: (M,) how many.
        verdict: as in `calibeval.confidence`.
        stated: mean over cases of what it says where it decides for the class; NaN without such a voxel.
        correct: of how often that is right.
    """

    says: Float
    right: Float
    low: Float
    high: Float
    voxels: NDArray[np.int64]
    verdict: str
    stated: float
    correct: float

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Bins of enough cases for a band; all bins where no bin has one."""
        banded = ~np.isnan(self.low)
        return banded if banded.any() else ~np.isnan(self.says)

    @property
    def words(self) -> str:
        """The sentence without its name."""
        if math.isnan(self.stated):
            return ""
        digits = 0 if abs(self.stated - self.correct) > _NEAR else 1
        return f"says {self.stated:.{digits}%}, is right in {self.correct:.{digits}%}"


def read_results(results: Any) -> dict[str, BinTable]:
    """Statistics by method, from whatever holds them.

    Args:
        results: a table or its side file, a `BinTable`, what `score_case` or `score_folder` give; or a sequence of
            these; or a mapping of names to these.

    Raises:
        TableError: a side file that is missing or broken.
        UsageError: something else, or two results of one name.
    """
    if isinstance(results, Mapping):
        return {name: table for name, each in results.items() for table in read_results(each).values()}
    if isinstance(results, list | tuple):
        if all(isinstance(each, str | Path) for each in results):
            sides = [_side(Path(each)) for each in results]
            return {name: read_bins(side) for name, side in zip(names_of(results), sides, strict=True)}
        named = [item for each in results for item in read_results(each).items()]
        _refuse_twice([name for name, _ in named])
        return dict(named)
    return read_results([results]) if isinstance(results, str | Path) else _of_object(results)


def _of_object(results: Any) -> dict[str, BinTable]:
    if isinstance(results, BinTable):
        return {results.method: results}
    if hasattr(results, "methods"):
        return {each.method: _scored(each) for each in results.methods}
    if hasattr(results, "bins") and hasattr(results, "signature"):
        return {getattr(results, "method", ""): _scored(results)}
    raise UsageError(f"expected a results table or what score_case or score_folder give, not {type(results).__name__}.")


def names_of(results: Sequence[Path | str]) -> list[str]:
    """The method of each table: as it says; of tables that say the same (`runs/a/score.csv`), their folders' names.

    Raises:
        TableError: no table.
        UsageError: two that neither tells apart.
    """
    paths = [Path(each) for each in results]
    names = [_method(path) for path in paths]
    if len(set(names)) < len(names):
        names = [path.parent.name for path in paths]
    _refuse_twice(names)
    return names


def _method(path: Path) -> str:
    if path.name.endswith(BINS_SUFFIX):
        return path.name.removesuffix(BINS_SUFFIX)
    methods = read_table(path)[1]["method"].unique()
    if len(methods) > 1:
        raise UsageError(f"{path}: holds the methods {some_of(methods)}; expected one, as score writes them.")
    return str(methods[0]) if len(methods) else path.stem


def _side(path: Path) -> Path:
    return path if path.name.endswith(BINS_SUFFIX) else bins_path(path)


def _refuse_twice(names: list[str]) -> None:
    if len(set(names)) < len(names):
        raise UsageError(f"Two results have one name: {', '.join(sorted(names))}. Rename one.")


def _scored(score: Any) -> BinTable:
    """A `MethodScore`, or a `ScoredCase`, which has one case and no names of classes."""
    one = any(isinstance(part, Statistics) for part in score.bins.values())
    cases = {"case": score.bins} if one else score.bins
    first = next(iter(next(iter(cases.values()), {}).values()), None)
    names = getattr(score, "class_names", ()) or tuple(map(str, range(0 if first is None else len(first.confusion))))
    return BinTable(score.signature, names, cases, _edges(score.signature))


def _edges(signature: Signature) -> Edges:
    def bins(part: str) -> int:
        return int(next(word for word in signature.get(part).split(",") if word.endswith("bins"))[:-4])

    return Edges(cell_edges(bins("ECE")), cell_edges(bins("CECE"), _threshold(signature)), cell_edges(bins("pECE")))


def _threshold(signature: Signature) -> float | None:
    words = signature.get("CECE").split(",")
    return next((float(word[2:]) for word in words if word.startswith("p>")), None)


def class_parts(table: BinTable) -> list[str]:
    """Names of the classes that have a curve of their own: foreground classes, or regions."""
    problems = next(iter(table.cases.values()), {})
    return list(table.class_names[1:]) if "" in problems or not problems else list(problems)


def has_boundary(table: BinTable) -> bool:
    """Whether the voxels near the reference's boundary were looked at (metric bECE)."""
    return any(part.boundary.count.any() for case in table.cases.values() for part in case.values())


def curve_of(table: BinTable, part: str = ALL, groups: Mapping[str, str] | None = None) -> Curve:
    """The curve of one method.

    Args:
        table: its statistics.
        part: `all`, the probability of the most probable class where the prediction leaves room for foreground, so
            that a calibrated model lies on the diagonal; `boundary`, the same near the reference's boundary; or a
            class or region, its own probability.
        groups: case to whom it belongs; None takes each case for its own.

    Raises:
        UsageError: no such class.
    """
    name, edges, deciding = _source(table, part)
    bins = edges.size - 1
    found = [_case_sums(case, table, part, name, bins) for case in table.cases.values()]
    if not found:
        nothing = np.full(bins, math.nan)
        return Curve(nothing, nothing, nothing, nothing, np.zeros(bins, np.int64), UNTOLD, math.nan, math.nan)
    owners = [(groups or {}).get(case, case) for case in table.cases]
    stated, correct = np.transpose([_means(sums[:, :, deciding].sum(axis=2)) for sums in found])
    cases = np.stack([sums.sum(axis=0) for sums in found])
    voxels, total, positive = cases.sum(axis=0)
    full = np.where(voxels > 0, voxels, math.nan)
    verdict = verdict_of(*mean_interval(stated - correct, owners, limits=(-1, 1)))
    told = (
        float(group_means(each, owners).mean()) if not np.isnan(each).all() else math.nan for each in (stated, correct)
    )
    return Curve(total / full, positive / full, *_band(cases, owners), voxels.astype(np.int64), verdict, *told)


def _source(table: BinTable, part: str) -> tuple[str, Float, NDArray[np.bool_]]:
    """Field of `Statistics`, edges of its bins, and which bins decide for what the probability is of."""
    cases = [part for case in table.cases.values() for part in case.values()]
    if part == BOUNDARY:
        name = "boundary"
    elif part == ALL:  # 0.1 kept no such voxels
        name = "selected" if any(case.selected.count.any() for case in cases) or not cases else "foreground"
    elif part in class_parts(table):
        name = "classes"
    else:
        raise UsageError(f"No class {part!r}. There are {some_of(class_parts(table), 12)}, and {ALL}, {BOUNDARY}.")
    edges = getattr(table.edges, name if name in Edges._fields else "top").astype(np.float64)
    if name == "classes" and (threshold := _threshold(table.signature)):
        edges = edges[edges >= np.float32(threshold)]
    deciding = np.ones(edges.size - 1, bool) if name in ("selected", "boundary") else edges[:-1] >= _HALF - _CLOSE
    return name, edges, deciding


def _case_sums(case: Mapping[str, Statistics], table: BinTable, part: str, name: str, bins: int) -> Float:
    """Voxels, summed probability and those where it is true, (problems, 3, M); p = 0 is in the first bin."""
    if name != "classes":
        histograms = [getattr(statistics, name) for statistics in case.values()]
    else:
        histograms = [case[part].classes.of(1) if part in case else case[""].classes.of(table.class_names.index(part))]
    cells = np.stack([[each.count.sum(axis=0), each.total.sum(axis=0), each.count[1]] for each in histograms])
    sums: Float = cells[:, :, -bins:].copy()
    if cells.shape[2] == bins + 1:  # no threshold
        sums[:, :, 0] += cells[:, :, 0]
    return sums


def _means(sums: Float) -> tuple[float, float]:
    """What it says and how often that is right: (problems, 3) to the mean over problems that have a voxel."""
    known = sums[sums[:, 0] > 0]
    if not known.size:
        return math.nan, math.nan
    says, right = (known[:, 1:] / known[:, :1]).mean(axis=0)
    return float(says), float(right)


def _band(cases: Float, owners: list[str]) -> tuple[Float, Float]:
    """Ends of the share that is right in each bin, over draws of owners with their cases; (cases, 3, M)."""
    _, owner = np.unique(owners, return_inverse=True)
    sums = np.zeros((owner.max() + 1, *cases.shape[1:]))
    np.add.at(sums, owner, cases)
    draws = resample(len(sums), _DRAWS)
    weights = np.stack([np.bincount(draw, minlength=len(sums)) for draw in draws]).astype(np.float64)
    voxels, positive = weights @ sums[:, 0], weights @ sums[:, 2]
    share = np.divide(positive, voxels, out=np.full_like(voxels, math.nan), where=voxels > 0)
    told = ((sums[:, 0] > 0).sum(axis=0) >= LEAST) & ~np.isnan(share).all(axis=0)
    ends = np.full((2, share.shape[1]), math.nan)
    if told.any():
        quantile = np.nanquantile if np.isnan(share[:, told]).any() else np.quantile  # the former is slow
        ends[:, told] = quantile(share[:, told], (0.025, 0.975), axis=0)
    return ends[0], ends[1]
