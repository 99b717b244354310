"""The page as plain data: everything that the template shows, in the order in which it shows it.

Texts are ready to be read and not yet escaped: the template escapes. Where something is missing, `Gap` names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from calibeval.metrics import Metric
from calibeval.table import Header


class Gap(NamedTuple):
    """What the page cannot show, and why."""

    what: str
    why: str


class Method(NamedTuple):
    """How a method is named and coloured, everywhere on the page."""

    name: str
    colour: str


class Figure(NamedTuple):
    """A picture.

    Attributes:
        title: what it is of; a method's name where it is of one.
        words: what it says, beside the title.
        svg: the picture, safe to be put into the page.
        rows: its numbers, for those who cannot see it; the first row is the head.
        colour: of the method.
    """

    title: str
    words: str
    svg: str
    rows: tuple[tuple[str, ...], ...] = ()
    colour: str = ""


class Pane(NamedTuple):
    """The pictures of one class, or of all together."""

    name: str
    figures: tuple[Figure, ...]


class Card(NamedTuple):
    """What is said of one method's probabilities.

    Attributes:
        method: whose.
        verdict: in two or three words.
        tone: `over`, `under`, `kept` or `open`.
        says: mean stated probability.
        right: how often that is right.
        most: the class where most; empty without one.
        details: sentences beneath.
    """

    method: Method
    verdict: str
    tone: str
    says: str
    right: str
    most: str
    details: tuple[str, ...]


class Column(NamedTuple):
    """A metric at the head of a table; `worst_down` says that the worst values are the largest."""

    name: str
    arrow: str
    unit: str
    long_name: str
    worst_down: bool


class Cell(NamedTuple):
    """A mean, its interval and, where they are fewer than the cases, how many it is over."""

    mean: str
    interval: str
    n: str
    best: bool


class MethodRow(NamedTuple):
    """A method's line of a table of means."""

    method: Method
    cells: tuple[Cell, ...]
    cases: str
    problems: str


class MeansTable(NamedTuple):
    """Means of as many metrics as fit side by side on paper."""

    columns: tuple[Column, ...]
    rows: tuple[MethodRow, ...]


class CaseTable(NamedTuple):
    """Every case of every method, worst first.

    Attributes:
        columns: the metrics.
        methods: that the rows point to.
        shown: the first rows (method, case, state, numbers), which the page holds as a table.
        total: number of all rows.
        json: all rows, for the script.
        order: in words.
    """

    columns: tuple[Column, ...]
    methods: tuple[Method, ...]
    shown: tuple[tuple[Method, str, str, tuple[str, ...]], ...]
    total: int
    json: str
    order: str


class Slice(NamedTuple):
    """Pictures of one case of one method."""

    method: Method
    case: str
    words: str
    image: str


class LesionsPart(NamedTuple):
    """Free-response curves, and sentences on each method."""

    figure: Figure
    said: tuple[tuple[Method, tuple[str, ...]], ...]


class Gates(NamedTuple):
    """What `check` decided: the verdict, and (status, check, found, cases) of each question."""

    passed: bool
    verdict: str
    subject: str
    rows: tuple[tuple[str, str, str, tuple[str, ...]], ...]
    notes: tuple[str, ...]


class RankingPart(NamedTuple):
    """The ranking: picture, table, and what it allows to say."""

    figure: Figure
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[str, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


class Source(NamedTuple):
    """A file behind the page and, of a table, what it says about itself."""

    path: str
    sha256: str
    header: Header | None = None


class Page(NamedTuple):
    """All of it.

    Attributes:
        title: of the window.
        kicker: data set, cases, methods, protocol.
        headline: the one sentence.
        lead: (method, what it does) of each.
        cards: of each method.
        sayings: the verdict of the ranking, in sentences.
        uncompared: what may not be compared, and why.
        gates: None without a check.
        means: tables of means.
        reliability: by class.
        distributions: a picture a metric.
        cases: the case table.
        slices: of the worst cases.
        lesions: None where none were scored.
        ranking: None without one.
        training: curves of a run.
        definitions: of the metrics shown.
        cautions: to be said where their numbers are.
        sources: tables, side files, and the run.
        versions: of the program and its libraries.
        command: that made the page.
        notes: how the tables were taken.
        gaps: by section.
    """

    title: str
    kicker: str = ""
    headline: str = ""
    lead: tuple[tuple[str, str], ...] = ()
    cards: tuple[Card, ...] = ()
    sayings: tuple[str, ...] = ()
    uncompared: tuple[str, ...] = ()
    gates: Gates | None = None
    means: tuple[MeansTable, ...] = ()
    reliability: tuple[Pane, ...] = ()
    distributions: tuple[Figure, ...] = ()
    cases: CaseTable = CaseTable((), (), (), 0, "{}", "")
    slices: tuple[Slice, ...] = ()
    lesions: LesionsPart | None = None
    ranking: RankingPart | None = None
    training: tuple[Figure, ...] = ()
    definitions: tuple[Metric, ...] = ()
    cautions: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    versions: tuple[str, ...] = ()
    command: str = ""
    notes: tuple[str, ...] = ()
    gaps: Mapping[str, tuple[Gap, ...]] = MappingProxyType({})
