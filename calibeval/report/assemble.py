"""All parts of the page put together: `build` from results tables, `as_html` from what `check` decided."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from calibeval._version import __version__
from calibeval.bins import bins_path
from calibeval.files import file_hash, write_text
from calibeval.gates.report import Report
from calibeval.machine import LIBRARIES, library_versions
from calibeval.metrics import METRICS, cautions
from calibeval.plots.style import looks
from calibeval.plots.volumes import Volumes
from calibeval.ranking.inputs import Source as Table
from calibeval.ranking.inputs import Tables, read_inputs
from calibeval.report.casewise import case_table, worst_first, worst_of_each
from calibeval.report.collect import Entry, entries_of
from calibeval.report.distributions import distributions
from calibeval.report.figures import on_page
from calibeval.report.gates import gates_of
from calibeval.report.lesions import lesions_part
from calibeval.report.means import means_tables
from calibeval.report.page import Card, Gap, Method, Page, Slice, Source
from calibeval.report.ranked import rank_if_possible, ranking_part
from calibeval.report.reliability import panes_of
from calibeval.report.render import need_extra, render
from calibeval.report.slices import find_volumes, slices_of
from calibeval.report.training import training_part
from calibeval.report.words import card_of, headline_of, lead_of
from calibeval.summary import SummaryRow, counted, summarise
from calibeval.table import POOLED, Header
from calibeval.wording import count_of


def build(
    results: Sequence[Path | str],
    out: Path | str | None = None,
    *,
    preds: Path | None = None,
    labels: Path | None = None,
    images: Path | None = None,
    run: Path | None = None,
    worst: int = 2,
    command: str = "",
) -> str:
    """Make the report of results tables.

    Args:
        results: tables of `calibeval score`, or what others write; each with its side file, if there is one, beside it.
        out: file to write, all or nothing; None writes none.
        preds: folder of predictions, one method's or a sub-folder a method; with `labels` it gives slices.
        labels: folder of reference labels.
        images: folder of images.
        run: folder of a training run, for its curves.
        worst: cases of each method whose slices are shown.
        command: that makes the page, to be named in it.

    Returns:
        The HTML, which holds all it needs.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
        TableError: a table that cannot be read.
        UsageError: tables that hold no case.
    """
    need_extra()
    tables = read_inputs([Path(path) for path in results])
    html = render(_page(tables, find_volumes(preds, labels, images), run, worst)._replace(command=command))
    if out is not None:
        write_text(Path(out), html)
    return html


def as_html(report: Report) -> str:
    """The report of what was checked, with the gates on top.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    need_extra()
    gates, scores = gates_of(report), report.scores
    if scores is None:
        headline = "The check passed." if gates.passed else "The check did not pass."
        return render(Page("calibeval check", headline=headline, gates=gates, versions=_versions()))
    frame = scores.frame[scores.frame["case"] != POOLED]
    header = Header("", scores.signature, scores.command)
    source = Table(Path(scores.name), header, frozenset(frame["dataset"]), (scores.method,))
    tables = Tables(frame.assign(method=scores.method), True, (source,), scores.notes)
    return render(_page(tables, find_volumes(None, None, None), None, 0)._replace(gates=gates))


def _page(tables: Tables, volumes: Volumes | Gap, run: Path | None, worst: int) -> Page:
    entries = entries_of(tables)
    look = looks(entry.label for entry in entries)
    methods = [Method(entry.label, on_page(look[entry.label].colour)) for entry in entries]
    summaries = {entry.label: summarise(entry.rows) for entry in entries}
    means = [{row.metric: row for row in rows} for rows in summaries.values()]
    units = {name: row.unit for held in means for name, row in held.items()}
    ranking, uncompared = rank_if_possible(tables)
    said = [card_of(entry, method) for entry, method in zip(entries, methods, strict=True)]
    cards = tuple(each for each in said if isinstance(each, Card))
    rows, by = worst_first(entries)
    pictures = list(slices_of(entries, methods, worst_of_each(rows, worst), volumes))
    panes, undrawn = panes_of(entries, look)
    lesions, unfound = lesions_part(entries, methods, look)
    training, untrained = training_part(run) if run else ((), ())
    return Page(
        title=f"calibeval: {', '.join(_datasets(entries)) or 'report'}",
        kicker=_kicker(entries),
        headline=headline_of(cards, ranking, summaries),
        lead=lead_of(cards),
        cards=cards,
        sayings=ranking.verdict if ranking else (),
        uncompared=uncompared,
        means=means_tables(entries, means, methods, ranking),
        reliability=panes,
        distributions=tuple(distributions(entries, means, look)),
        cases=case_table(rows, by, units, methods),
        slices=tuple(each for each in pictures if isinstance(each, Slice)),
        lesions=lesions,
        ranking=ranking_part(ranking) if ranking else None,
        training=training,
        definitions=tuple(METRICS[name] for name in units),
        cautions=_cautions(entries, summaries.values()),
        sources=tuple(_sources(tables.sources)),
        versions=_versions(),
        notes=tables.notes,
        gaps={
            "cards": tuple(each for each in said if isinstance(each, Gap)),
            "reliability": undrawn,
            "slices": tuple(each for each in pictures if isinstance(each, Gap)),
            "lesions": unfound,
            "training": untrained,
        },
    )


def _datasets(entries: Iterable[Entry]) -> list[str]:
    return sorted({row.dataset for entry in entries for row in entry.rows[:1] if row.dataset})


def _kicker(entries: Sequence[Entry]) -> str:
    cases = {(row.dataset, row.case) for entry in entries for row in entry.rows}
    names = sorted({entry.source.signature.name for entry in entries if entry.source.signature})
    protocol = [f"protocol {', '.join(names)}"] if names else []
    counts = [count_of(len(cases), "case"), count_of(len(entries), "method")] if entries else []
    return " · ".join([*_datasets(entries), *counts, *protocol])


def _cautions(entries: Iterable[Entry], summaries: Iterable[Sequence[SummaryRow]]) -> tuple[str, ...]:
    """What must stand beside the means."""
    found = dict.fromkeys(text for entry in entries for text in cautions(entry.metrics, entry.source.signature))
    groups = counted(row for rows in summaries for row in rows)
    return (*found, *[f"{groups}."] * bool(groups))


def _sources(tables: Iterable[Table]) -> Iterator[Source]:
    for table in tables:
        for path, header in ((table.path, table.header), (bins_path(table.path), None)):
            if path.is_file():
                yield Source(str(path), file_hash(path), header)


def _versions() -> tuple[str, ...]:
    found = library_versions((*LIBRARIES, "matplotlib", "jinja2"))
    return (f"calibeval {__version__}", f"python {platform.python_version()}", *(f"{k} {v}" for k, v in found.items()))
