"""Every format that a command writes, its file's name and its writer: the one table.

A file's name chooses: `metrics.json`, `summary.json` and `flat.json` are those of other programs, any other file goes
by its suffix, in capitals too. `--format NAME` chooses what is printed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from calibeval.errors import UsageError

_RANK, _CHECK, _EXPORTS = "calibeval.ranking.formats", "calibeval.gates.formats", "calibeval.exports"


class Output(NamedTuple):
    """One format.

    Attributes:
        name: for `--format`.
        suffix: of its files; empty where it can only be printed.
        writers: command to `module:function`, which gives the text.
        file: whole name of its file, where others have the same suffix.
    """

    name: str
    suffix: str
    writers: Mapping[str, str]
    file: str = ""

    def writer(self, command: str) -> Callable[[Any], str]:
        """The function that gives the text."""
        module, _, function = self.writers[command].partition(":")
        found: Callable[[Any], str] = getattr(import_module(module), function)
        return found

    @property
    def takes_rows(self) -> bool:
        """Whether the writer takes the rows of one method, whatever the command."""
        return bool(self.file)


def _rows(function: str) -> dict[str, str]:
    return dict.fromkeys(("score", "check"), f"{_EXPORTS}:{function}")


OUTPUTS: tuple[Output, ...] = (
    Output("csv", ".csv", {"rank": f"{_RANK}:to_csv"}),
    Output("table", ".txt", {"rank": f"{_RANK}:to_table"}),
    Output("text", ".txt", {"check": f"{_CHECK}:as_text"}),
    Output(
        "json",
        ".json",
        {"rank": f"{_RANK}:to_json", "check": f"{_CHECK}:as_json", "score": "calibeval.cli.score_table:as_json"},
    ),
    Output("latex", ".tex", {"rank": f"{_RANK}:to_latex"}),
    Output("markdown", ".md", {"rank": f"{_RANK}:to_markdown", "check": f"{_CHECK}:as_markdown"}),
    Output("junit", ".xml", {"check": "calibeval.gates.junit:as_junit"}),
    Output("html", ".html", {"check": "calibeval.report:as_html"}),
    Output("github", "", {"check": f"{_CHECK}:as_github"}),
    Output("grand-challenge", ".json", _rows("grand_challenge"), "metrics.json"),
    Output("nnunet", ".json", _rows("nnunet_summary"), "summary.json"),
    Output("flat", ".json", _rows("flat"), "flat.json"),
)


def outputs_of(command: str) -> dict[str, Output]:
    """The formats of a command by name."""
    return {output.name: output for output in OUTPUTS if command in output.writers}


def output_of_name(command: str, name: str) -> Output:
    """The format of `--format`.

    Raises:
        UsageError: an unknown name.
    """
    known = outputs_of(command)
    if name not in known:
        raise UsageError(f"Unknown format {name!r}. Known: {', '.join(known)}.")
    return known[name]


def output_of_path(command: str, path: Path, advice: str = "") -> Output:
    """The format that a file's name asks for.

    Raises:
        UsageError: a name that asks for none.
    """
    known = outputs_of(command).values()
    files = {output.file or f"*{output.suffix}": output for output in known if output.suffix}
    found = files.get(path.name.lower(), files.get(f"*{path.suffix.lower()}"))
    if found is None:
        raise UsageError(f"--out {path}: unknown suffix. Known: {files_of(command)}.{advice}")
    return found


def files_of(command: str) -> str:
    """The names of files that a command writes, for messages and help."""
    named = [each for each in outputs_of(command).values() if each.suffix]
    return ", ".join(f"{each.file or each.suffix} ({each.name})" for each in named)
