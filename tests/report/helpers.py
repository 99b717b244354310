"""Tables for reports, and a page taken apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from calibeval.bins import bins_path, write_bins
from calibeval.metrics.statistics import Histogram, Statistics, empty_statistics
from calibeval.protocol import make_protocol
from calibeval.table import Row, write_table

PROTOCOL = make_protocol()
VOID = {"meta", "link", "br", "img", "input", "use"}
CLASSES = ("background", "LV", "RV")
HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>'",
    "</script></style><b>",
    "{{ 7 * 7 }} {% raw %}",
    "bell\x07esc\x1b[31m",
    "\u202egnp.exe",
    "\u05e9\u05dc\u05d5\u05dd_\u0645\u0631\u062d\u0628\u0627",
    "a" * 300,
)


@dataclass
class Node:
    """An element."""

    tag: str
    attrs: dict[str, str] = field(default_factory=dict)
    children: list[Node | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    def all(self, tag: str = "", **attrs: str) -> Iterator[Node]:
        """Elements inside, in order."""
        for child in self.children:
            if isinstance(child, Node):
                if tag in ("", child.tag) and attrs.items() <= child.attrs.items():
                    yield child
                yield from child.all(tag, **attrs)

    def rows(self) -> list[list[str]]:
        """Cells of each row of the tables inside, without what stands in small print beneath."""
        return [
            [
                "".join(_plain(cell)).strip()
                for cell in row.children
                if isinstance(cell, Node) and cell.tag in ("td", "th")
            ]
            for row in self.all("tr")
        ]


def _plain(node: Node) -> Iterator[str]:
    for child in node.children:
        if isinstance(child, str):
            yield child
        elif child.attrs.get("class") != "ci":
            yield from _plain(child)


class _Tree(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Node("page")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Node(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop().tag == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parse(html: str) -> Node:
    """The page as a tree; an element that is not closed fails."""
    tree = _Tree()
    tree.feed(html)
    tree.close()
    (page,) = tree.open
    return page


def statistics(says: float, right: float, voxels: int = 1000) -> Statistics:
    """Of a case of three classes: so many voxels of LV, of which it says and is right in so much."""
    hit = round(voxels * right)
    count, total = np.zeros((2, 16), np.int64), np.zeros((2, 16))
    count[:, 14], total[:, 14] = (voxels - hit, hit), ((voxels - hit) * says, hit * says)
    one = Histogram(count, total)
    empty = empty_statistics(3, PROTOCOL)
    classes = Histogram(empty.classes.count.copy(), empty.classes.total.copy())
    classes.count[1, :, 15], classes.total[1, :, 15] = count[:, 14], total[:, 14]
    foreground = Histogram(empty.foreground.count.copy(), empty.foreground.total.copy())
    foreground.count[:, 9], foreground.total[:, 9] = count[:, 14], total[:, 14]
    confusion = np.array([[0, voxels - hit, 0], [0, hit, 0], [0, 0, 0]], np.int64)
    return Statistics(
        confusion, one, classes, foreground, empty.boundary, one, empty.squared_error, empty.log_loss, empty.cells
    )


def write_method(
    folder: Path,
    method: str,
    says: float,
    rights: list[float],
    *,
    file: str = "",
    dsc: list[float] | None = None,
    cases: list[str] | None = None,
    dataset: str = "A",
    side: bool = True,
    signature: str = "",
) -> Path:
    """Write a method's table and side file; cases are named c0, c1, ..."""
    names = cases or [f"c{i}" for i in range(len(rights))]
    rows = []
    for i, (case, right) in enumerate(zip(names, rights, strict=True)):
        overlap = dsc[i] if dsc else right
        rows += [Row(method, dataset, case, name, "DSC", overlap) for name in ("LV", "RV", "mean")]
        rows += [Row(method, dataset, case, "all", "ECE", abs(says - right))]
        rows += [Row(method, dataset, case, name, "gap", says - right) for name in ("LV", "all")]
        rows += [Row(method, dataset, case, "RV", "gap", (says - right) / 2)]
    path = folder / f"{file or method}.csv"
    signature = signature or str(PROTOCOL.signature)
    write_table(path, rows, signature=signature, command="calibeval score preds labels")
    if side:
        bins = {case: {"": statistics(says, right)} for case, right in zip(names, rights, strict=True)}
        write_bins(bins_path(path), bins, PROTOCOL, signature=signature, class_names=np.array(CLASSES))
    return path
