"""`calibeval explain`: the documentation's pages in the terminal."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Annotated, NamedTuple

import typer

from calibeval.errors import UsageError

_READING_WIDTH = 120
_HINT = "calibeval explain NAME also finds the paragraph on a metric, loss, protocol or command, as in: explain pECE"

Topic = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[TOPIC]...",
        help="A page, or the name of a metric, loss, protocol, command or heading. Default: list the pages.",
        show_default=False,
    ),
]


class Section(NamedTuple):
    """A heading and all that stands below it.

    Attributes:
        name: what the section is found by: of a page its file's name, else the heading up to a colon.
        title: the heading.
        level: 1 for a page.
        text: Markdown, from the heading on.
    """

    name: str
    title: str
    level: int
    text: str

    @property
    def summary(self) -> str:
        """The first paragraph."""
        return " ".join(self.text.split("\n\n")[1].split())


def explain(topic: Topic = None) -> None:
    """Show a page of the documentation, or the paragraph on one name.

    On a terminal it is laid out and paged; into a pipe it is Markdown.
    """
    sections = list(read_sections())
    if topic:
        _show("\n".join(section.text for section in find(" ".join(topic), sections)))
        return
    pages = [section for section in sections if section.level == 1]
    width = max(len(page.name) for page in pages)
    for page in pages:
        print(f"{page.name:<{width}}  {page.summary}")
    print(f"\n{_HINT}")


def read_sections() -> Iterator[Section]:
    """Every page, followed by its sections."""
    from importlib.resources import files  # 20 ms that other commands need not wait for

    folder = files("calibeval").joinpath("docs")
    for page in sorted(folder.iterdir(), key=lambda page: page.name):
        if page.name.endswith(".md"):
            yield from _sections(page.name.removesuffix(".md"), page.read_text(encoding="utf-8"))


def _sections(page: str, text: str) -> Iterator[Section]:
    lines = re.sub(r"^<!--.*?-->\n", "", text, flags=re.MULTILINE).splitlines()
    headings = list(_headings(lines))
    for place, (start, level, title) in enumerate(headings):
        end = next((line for line, other, _ in headings[place + 1 :] if other <= level), len(lines))
        name = page if level == 1 else title.split(":")[0].removeprefix("calibeval ")
        yield Section(name, title, level, "\n".join(lines[start:end]).rstrip() + "\n")


def _headings(lines: list[str]) -> Iterator[tuple[int, int, str]]:
    """Line, level and text of each heading; a comment in a code block is none."""
    in_code = False
    for number, line in enumerate(lines):
        in_code ^= line.startswith("```")
        if not in_code and (heading := re.match(r"(#+) (.*)", line)):
            yield number, len(heading[1]), heading[2].replace("`", "")


def find(topic: str, sections: list[Section]) -> list[Section]:
    """The page of that name, else every section of that name: `nacl` is a loss and a protocol.

    Raises:
        UsageError: there is none; it suggests near names.
    """
    wanted = topic.casefold().removesuffix(".md")
    found = [section for section in sections if section.name.casefold() == wanted]
    if not found:
        near = ", ".join(_near(wanted, sections))
        hint = f"Did you mean {near}?" if near else "The pages are listed by: calibeval explain"
        raise UsageError(f"Nothing is called {topic!r} here. {hint}")
    return [section for section in found if section.level == 1] or found


def _near(wanted: str, sections: list[Section]) -> list[str]:
    """Names that are spelt alike, then those whose headings hold the word."""
    names = {section.name.casefold(): section.name for section in sections}
    alike = [names[name] for name in get_close_matches(wanted, names, n=3)]
    holding = [section.name for section in sections if wanted in section.title.casefold()]
    return list(dict.fromkeys([*alike, *holding]))[:5]


def _show(markdown: str) -> None:
    if not sys.stdout.isatty():
        print(markdown, end="")
        return
    from rich.console import Console
    from rich.markdown import Markdown

    os.environ.setdefault("LESS", "-FRX")  # colours, and no waiting where all fits on the screen
    console = Console()
    console.width = min(console.width, _READING_WIDTH)
    readable = re.sub(r"\[([^]]+)\]\(([\w-]+)\.md[^)]*\)", r"\1 (`calibeval explain \2`)", markdown)
    with console.pager(styles=True):
        console.print(Markdown(readable))
