"""What a page is made from: the rows of each method and, from the side file, the statistics of its cases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from calibeval.bins import BinTable, bins_path, read_bins
from calibeval.errors import TableError, UsageError
from calibeval.metrics import DEFAULT, METRICS
from calibeval.protocol import PROTOCOLS, Protocol
from calibeval.ranking.inputs import Source, Tables
from calibeval.scoring.options import options_of_command, options_of_table
from calibeval.table import Row, overall_class

_DECIDE = ("CECE", "edges")  # parts of a signature that the test of calibration rests on


@dataclass(frozen=True)
class Entry:
    """One method on one data set.

    Attributes:
        label: the method, with the data set where there are several.
        rows: of its cases, of metrics that calibeval knows.
        source: the table.
        bins: statistics of its cases; None without.
        why: there are none.
    """

    label: str
    rows: tuple[Row, ...]
    source: Source
    bins: BinTable | None
    why: str

    @cached_property
    def groups(self) -> dict[str, str]:
        """Case to what it is sampled with."""
        return {row.case: row.group or row.case for row in self.rows}

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """What it holds, those first that `score` takes when nothing is said."""
        held = {row.metric for row in self.rows if row.class_name == overall_class(row.metric)}
        return tuple(name for name in dict.fromkeys((*DEFAULT, *METRICS)) if name in held)

    @property
    def protocol(self) -> Protocol | None:
        """By which it was scored, as far as the test of calibration goes; None where the table does not tell."""
        header = self.source.header
        try:
            found = options_of_table(options_of_command(header.command), str(self.source.path)).numbers
        except UsageError:
            found = PROTOCOLS["paper"]
        known = (found, PROTOCOLS.get(header.signature.name, found))
        return next((each for each in known if _same(each, header.signature.parts)), None)


def _same(protocol: Protocol, parts: dict[str, str]) -> bool:
    return all(protocol.signature.parts[key] == parts.get(key) for key in _DECIDE)


def entries_of(tables: Tables) -> list[Entry]:
    """The methods of all tables, in their order.

    Raises:
        UsageError: tables that hold no case.
    """
    if not tables.has_cases:
        raise UsageError("A report needs tables of cases, as `calibeval score` writes them, not one row a method.")
    frame = tables.frame[tables.frame["metric"].isin(list(METRICS))]
    if frame.empty:
        raise UsageError(f"The tables hold no metric that calibeval knows: {', '.join(METRICS)}.")
    return list(_entries(frame, tables.sources, several=frame["dataset"].nunique() > 1))


def _entries(frame: object, sources: tuple[Source, ...], *, several: bool) -> Iterator[Entry]:
    side = {source.path: _side_file(source) for source in sources}
    for (method, dataset), part in frame.groupby(["method", "dataset"], sort=False):  # type: ignore[attr-defined]
        source = next(each for each in sources if method in each.methods and dataset in each.datasets)
        label = f"{method} ({dataset})" if several else method
        columns = (part[name].to_numpy().tolist() for name in part)  # pandas' own rows take six times as long
        yield Entry(label, tuple(map(Row._make, zip(*columns, strict=True))), source, *side[source.path])


def _side_file(source: Source) -> tuple[BinTable | None, str]:
    path = bins_path(source.path)
    if not source.signature:
        return (
            None,
            f"{source.path} was not written by calibeval score, which alone keeps what a diagram is drawn from.",
        )
    if len(source.methods) > 1:
        return None, f"{source.path} holds several methods, and a side file is of one. Give the tables apart."
    if not path.is_file():
        return None, f"{path} is missing. Put it beside the table, or score again."
    try:
        bins = read_bins(path)
    except TableError as error:
        return None, str(error)
    why = _unfit(bins, source)
    return (None, f"{path}: {why}") if why else (bins, "")


def _unfit(bins: BinTable, source: Source) -> str:
    """Why statistics say nothing of a table; empty where they do."""
    if bins.signature != source.signature:
        return "is not of this table: it was scored by other choices. Score again."
    soft = any(part.has_probabilities for case in bins.cases.values() for part in case.values())
    return "" if soft else "label maps alone were scored, which hold no probabilities."
