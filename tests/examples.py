"""What the documentation shows of real runs: `python -m tests.examples [PAGE...]` runs it and pastes the outputs anew.

A ```console block holds commands (`$ ...`) and what they print to stdout, a ```python block is followed by a block with
what it prints. They run in a folder that looks like a clone in which the README's first command was run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests import ROOT
from tests.generated import pages

_CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)
_PYTHON = re.compile(r"```python\n(.*?)```\n(?:\n```\n(.*?)```)?", re.DOTALL)


def make_clone(folder: Path) -> Path:
    """Fill a folder so that commands see a clone with its first results."""
    (folder / "sample_data").symlink_to(ROOT / "sample_data")
    done = run("calibeval score sample_data/preds sample_data/labelsTr --quiet", folder)
    assert done.returncode == 0, done.stderr
    return folder


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a shell command as on a terminal of 80 columns without colours."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "COLUMNS": "80", "NO_COLOR": "1"}
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, cwd=folder, env=environment, check=False
    )


def run_python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run an example; a warning is an error."""
    (folder / "example.py").write_text(code, encoding="utf-8")
    return run(f"{sys.executable} -W error example.py", folder)


def sessions(text: str) -> Iterator[tuple[str, str]]:
    """Commands and their outputs, in order."""
    for block in _CONSOLE.findall(text):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def python_examples(text: str) -> list[tuple[str, str]]:
    """Python code and what it prints; empty where nothing is pasted."""
    return _PYTHON.findall(text)


def tidy(text: str) -> str:
    """Lines without what stands behind or around them."""
    return "".join(f"{line.rstrip()}\n" for line in text.strip("\n").splitlines())


def _renewed(text: str, folder: Path) -> str:
    def session(block: re.Match[str]) -> str:
        shown = (f"$ {command}\n{tidy(run(command, folder).stdout)}" for command, _ in sessions(block.group()))
        return f"```console\n{''.join(shown)}```"

    def python(block: re.Match[str]) -> str:
        return f"```python\n{block[1]}```\n\n```\n{tidy(run_python(block[1], folder).stdout)}```"

    return _PYTHON.sub(python, _CONSOLE.sub(session, text))


def main(names: list[str]) -> None:
    """Paste anew what the named pages show, or all; name the pages that changed."""
    with tempfile.TemporaryDirectory() as folder:
        clone = make_clone(Path(folder))
        for page in pages():
            if not names or page.stem in names:
                text = page.read_text(encoding="utf-8")
                if (new := _renewed(text, clone)) != text:
                    page.write_text(new, encoding="utf-8")
                    print(f"wrote {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main(sys.argv[1:])
