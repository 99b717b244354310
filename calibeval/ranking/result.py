"""The result of a ranking, and its form for machines."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval._version import __version__
from calibeval.errors import UsageError
from calibeval.escape import finite
from calibeval.metrics import Better
from calibeval.metrics.intervals import SEED
from calibeval.protocol import EMPTY_RULES
from calibeval.ranking.claims import Claims, gains_of, least_differences, pair_claims
from calibeval.ranking.design import Blocks, Design, Missing
from calibeval.ranking.friedman import Friedman
from calibeval.ranking.posthoc import POSTHOC, Posthoc
from calibeval.ranking.schemes import BlockKind, Scheme
from calibeval.ranking.scores import Array, Scores
from calibeval.ranking.stability import Alternative, Effect, Order
from calibeval.signature import Signature
from calibeval.wording import MISSING_RULES, missing_rule

_CHOICES: dict[str, tuple[str | None, ...]] = {
    "blocks": ("case", "metric", None),
    "scheme": ("rank-then-aggregate", "aggregate-then-rank", "test"),
    "missing": MISSING_RULES,
    "empty": (*EMPTY_RULES, None),
    "posthoc": POSTHOC,
}
_MOST_DRAWS = 1_000_000  # more change nothing that anybody could see


@dataclass(frozen=True)
class RankSettings:
    """Every choice of a ranking.

    Attributes:
        metrics: comma-separated names, `default`, `all`, or nothing; see `choose_metrics`.
        direction: of metrics that the registry does not know: name to `lower`, `higher` or `zero`.
        blocks: what the Friedman test counts as one observation; None is `case` for score tables and `metric` for
            wide CSVs.
        scheme: how ranks and averages follow each other.
        missing: what to do where methods differ in cases; failed cases rank last unless it is `drop`.
        empty: empty rule to apply to the table's statuses; None keeps the table's own.
        group_by: whose cases count as one, see `case_table.groups`; None takes the tables' own groups.
        cases: the table of cases for `group_by`.
        alpha: level of tests; intervals cover 1 - alpha.
        posthoc: the test of pairs that the verdict speaks of.
        min_effect: smallest difference of means that matters, by metric, where it is not the default.
        control: method that the others are compared with; None compares all pairs.
        bootstrap: number of draws; 0 for none.
        seed: of draws and sampled permutations.
    """

    metrics: str = ""
    direction: tuple[tuple[str, str], ...] = ()
    blocks: BlockKind | None = None
    scheme: Scheme = "rank-then-aggregate"
    missing: Missing = "error"
    empty: str | None = None
    group_by: str | None = None
    cases: Path | None = None
    alpha: float = 0.05
    posthoc: Literal["permutation", "nemenyi", "conover", "wilcoxon-holm"] = "permutation"
    min_effect: tuple[tuple[str, float], ...] = ()
    control: str | None = None
    bootstrap: int = 1000
    seed: int = SEED

    def __post_init__(self) -> None:
        object.__setattr__(self, "missing", missing_rule(self.missing))
        for name, known in _CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                listed = ", ".join(word for word in known if word)
                raise UsageError(f"Unknown choice {value!r} for --{name}. Known: {listed}.")
        if not 0 < self.alpha < 1:
            raise UsageError(f"--alpha must lie between 0 and 1, not {self.alpha:g}.")
        if self.bootstrap < 0 or self.seed < 0:
            raise UsageError("--bootstrap and --seed must be zero or more.")
        if self.bootstrap > _MOST_DRAWS:
            raise UsageError(f"--bootstrap must be at most {_MOST_DRAWS:,}, not {self.bootstrap:,}.")
        for name, least in self.min_effect:
            if not 0 <= least < math.inf:
                raise UsageError(f"--min-effect {name}={least:g}: expected a difference of 0 or more, in its unit.")


class Comparison(NamedTuple):
    """All methods against a control.

    Attributes:
        method: the control.
        p: (k,) adjusted by Holm's method; NaN for the control itself.
    """

    method: str
    p: Array


@dataclass(frozen=True)
class Ranking:
    """What `rank_tables` found.

    Attributes:
        settings: as asked for, with `blocks` filled in.
        signature: of the tables' protocol.
        scores: the joined numbers in their own units.
        design: the numbers as ranked.
        blocks: of the Friedman test.
        overall: the order over all metrics.
        per_metric: the order in each metric.
        friedman: the overall test.
        metric_friedman: the test of each metric alone.
        posthoc: tests of pairs over `blocks`.
        independent: tests of pairs over clusters; the same as `posthoc` unless blocks are metrics.
        control: comparison with the control method, over clusters.
        effects: paired differences.
        tau: mean and interval of Kendall's tau between the order and its bootstrap draws; NaN without bootstrap.
        alternatives: the order under other choices.
        warnings: what limits the result.
        notes: what was decided on the way.
        verdict: the result in plain sentences.
        beside: means (k,) of metrics that are not ranked and are best for a model that says the truth.
    """

    settings: RankSettings
    signature: Signature
    scores: Scores
    design: Design
    blocks: Blocks
    overall: Order
    per_metric: dict[str, Order]
    friedman: Friedman
    metric_friedman: dict[str, Friedman]
    posthoc: Posthoc
    independent: Posthoc
    control: Comparison | None
    effects: tuple[Effect, ...]
    tau: tuple[float, float, float]
    alternatives: tuple[Alternative, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    verdict: tuple[str, ...] = ()
    beside: dict[str, Array] = field(default_factory=dict)

    @property
    def methods(self) -> tuple[str, ...]:
        """Names in the order of the input."""
        return self.design.methods

    @property
    def block_ranks(self) -> Array:
        """Mean scores (k,) over the blocks: what the tests and the critical-difference diagram are about."""
        return np.asarray(self.blocks.scores.mean(axis=0))

    def best_first(self) -> list[int]:
        """Numbers of the methods by place; equal ones in the order of the input."""
        return [int(i) for i in np.argsort(np.round(self.overall.mean_rank, 9), kind="stable")]

    def significant(self) -> NDArray[np.bool_]:
        """Pairs (k, k) that may be called different: the overall test over clusters and the chosen test agree."""
        p = self.independent.adjusted(self.settings.posthoc)
        return np.asarray((p < self.settings.alpha) & (self.friedman.cluster_permutation.p < self.settings.alpha))

    @property
    def better(self) -> dict[str, Better]:
        """Direction of each metric."""
        return dict(zip(self.scores.metrics, self.scores.better, strict=True))

    @property
    def least_differences(self) -> dict[str, float]:
        """Smallest difference of means that matters, by metric."""
        return least_differences(self.scores.metrics, dict(self.settings.min_effect))

    def gains(self) -> Array:
        """Mean paired gains (m, k, k) of the first method over the second."""
        return gains_of(self.effects, self.better, self.methods)

    def claims(self) -> Claims:
        """What may be said of each pair."""
        favoured = self.significant() & self.independent.favours(self.settings.posthoc)
        return pair_claims(favoured, self.gains(), np.array(list(self.least_differences.values())))

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON holds it; a number that does not exist is None."""
        document = {
            "calibeval": __version__,
            "signature": self.signature,
            "design": self._design_dict(),
            "methods": self._methods_dict(self.overall),
            "friedman": _friedman_dict(self.friedman),
            "permutation": {
                "cd": self.posthoc.permutation_cd,
                "alpha": self.settings.alpha,
                "p": self._pairs(self.posthoc.permutation),
            },
            "nemenyi": {"cd": self.posthoc.cd, "alpha": self.settings.alpha, "p": self._pairs(self.posthoc.nemenyi)},
            "conover": {
                "alpha": self.settings.alpha,
                "p": self._pairs(self.posthoc.conover),
                "p_holm": self._pairs(self.posthoc.conover_holm),
            },
            "wilcoxon_holm": {"alpha": self.settings.alpha, "p": self._pairs(self.posthoc.wilcoxon_holm)},
            "control": self._control_dict(),
            "metrics": self._metrics_dict(),
            "beside": {
                name: dict(zip(self.methods, map(float, means), strict=True)) for name, means in self.beside.items()
            },
            "effects": [effect._asdict() for effect in self.effects],
            "stability": {
                "kendall_tau": dict(zip(("mean", "low", "high"), self.tau, strict=True)),
                "mean_rank_interval": self._intervals_dict(),
                "alternatives": [_alternative_dict(alternative) for alternative in self.alternatives],
            },
            "verdict": list(self.verdict),
            "warnings": list(self.warnings),
            "notes": list(self.notes),
        }
        return {key: finite(value) for key, value in document.items()}

    def _design_dict(self) -> dict[str, Any]:
        settings = self.settings
        tests = {"permutation": self.friedman.permutation, "cluster_permutation": self.friedman.cluster_permutation}
        return {
            "blocks": settings.blocks,
            "scheme": settings.scheme,
            "posthoc": settings.posthoc,
            "missing": settings.missing,
            "empty": settings.empty,
            "group_by": settings.group_by,
            "alpha": settings.alpha,
            "min_effect": self.least_differences,
            "bootstrap": settings.bootstrap,
            "seed": settings.seed,
            "metrics": dict(zip(self.scores.metrics, self.scores.better, strict=True)),
            "data_sets": sorted({unit.dataset for unit in self.scores.units}),
            "n_cases": self.design.n_cases if self.scores.has_cases else None,
            "n_clusters": self.friedman.n_clusters,
            "permutations": {name: {"exact": p.exact, "arrangements": p.arrangements} for name, p in tests.items()},
            "smallest_p": {
                "cluster_permutation": self.friedman.cluster_permutation.smallest,
                "cluster_cd": self.independent.cd,
            },
        }

    def _methods_dict(self, order: Order) -> list[dict[str, Any]]:
        low, high = order.rank_interval
        return [
            {
                "name": name,
                "mean_rank": float(order.mean_rank[i]),
                "rank": int(order.rank[i]),
                "rank_low": _whole(low[i]),
                "rank_high": _whole(high[i]),
                "p_first": float(order.p_first[i]),
            }
            for i, name in enumerate(self.methods)
        ]

    def _metrics_dict(self) -> dict[str, Any]:
        return {
            metric: {"methods": self._methods_dict(order), "friedman": _friedman_dict(self.metric_friedman[metric])}
            for metric, order in self.per_metric.items()
        }

    def _control_dict(self) -> dict[str, Any] | None:
        if self.control is None:
            return None
        p = {
            name: float(p) for name, p in zip(self.methods, self.control.p, strict=True) if name != self.control.method
        }
        return {"method": self.control.method, "posthoc": self.settings.posthoc, "adjustment": "holm", "p": p}

    def _intervals_dict(self) -> dict[str, list[float]]:
        pairs = zip(self.methods, self.overall.mean_interval.T, strict=True)
        return {name: [float(low), float(high)] for name, (low, high) in pairs}

    def _pairs(self, p: Array) -> dict[str, dict[str, float]]:
        return {
            a: dict(zip(self.methods, map(float, row), strict=True)) for a, row in zip(self.methods, p, strict=True)
        }


def _friedman_dict(result: Friedman) -> dict[str, Any]:
    return {
        "chi2": result.chi2,
        "p": result.p,
        "f": result.f,
        "f_p": result.f_p,
        "permutation_p": result.permutation.p,
        "cluster_permutation_p": result.cluster_permutation.p,
        "kendall_w": result.kendall_w,
        "n_blocks": result.n_blocks,
        "n_methods": result.n_methods,
    }


def _alternative_dict(alternative: Alternative) -> dict[str, Any]:
    content = alternative._asdict() | {"first": list(alternative.first)}
    if alternative.changed_pairs < 0:
        del content["changed_pairs"]
    return content


def _whole(place: float) -> int | None:
    return None if math.isnan(place) else int(place)
