"""The ranking's part of the page, or why methods may not be ranked."""

from __future__ import annotations

from calibeval.errors import CalibevalError
from calibeval.metrics import PAPER
from calibeval.plots.style import style
from calibeval.ranking.analysis import rank_inputs
from calibeval.ranking.formats import table_cells, test_lines
from calibeval.ranking.inputs import Tables, differing
from calibeval.ranking.plots import critical_difference_diagram
from calibeval.ranking.result import Ranking, RankSettings
from calibeval.report.figures import svg_of
from calibeval.report.page import Figure, RankingPart


def rank_if_possible(tables: Tables) -> tuple[Ranking | None, tuple[str, ...]]:
    """The ranking by those of the paper's metrics that all tables hold alike, and what may not be compared, and why."""
    if tables.frame["method"].nunique() < 2:
        return None, ()
    metrics = set(tables.frame["metric"].unique())
    held = [name for name in PAPER if name in metrics]
    apart = {name: text for name in (*held, "gap", "Brier", "NLL") if (text := differing(tables.sources, (name,)))}
    alike = [name for name in held if name not in apart]
    reasons = tuple(f"{', '.join(names)}: {text}." for text, names in _by_text(apart).items())
    if not alike:
        return None, reasons or ("The tables hold none of the paper's metrics: rank them with --metrics.",)
    try:
        return rank_inputs(tables, RankSettings(metrics=",".join(alike))), reasons
    except CalibevalError as error:
        return None, (*reasons, f"The methods are not ranked. {error}")


def _by_text(apart: dict[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, text in apart.items():
        found.setdefault(text, []).append(name)
    return found


def ranking_part(ranking: Ranking) -> RankingPart:
    """Picture, table and remarks."""
    head, rows = table_cells(ranking)
    says = "; ".join(f"{name}: mean rank {rank}" for _, name, rank, *_ in rows)
    with style():
        drawn = critical_difference_diagram(ranking)
    figure = Figure("Mean ranks", "", svg_of(drawn, f"Mean ranks of methods. {says}"))
    return RankingPart(
        figure, tuple(head), tuple(map(tuple, rows)), tuple(test_lines(ranking)), ranking.warnings, ranking.notes
    )
