"""The README is true: its tables are the registries', its commands run as written, its outputs are real."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from calibeval.metrics import METRICS
from calibeval.protocol import HD95_DEFINITIONS, PROTOCOLS
from tests import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def metric_table():
    """The table of metrics as the README shows it."""
    lines = ["| metric | unit | better | formula | undefined | source |", "|---|---|---|---|---|---|"]
    arrows = {"higher": "higher", "lower": "lower", "zero": "nearer 0"}
    for metric in METRICS.values():
        formula = metric.formula.replace("|", "\\|")
        cells = (
            f"**{metric.name}** {metric.long_name}",
            metric.unit,
            arrows[metric.better],
            f"`{formula}`",
            metric.undefined,
            metric.citation,
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def protocol_table():
    """The table of protocols as the README shows it."""

    def cece(protocol):
        threshold = "" if protocol.cece_threshold is None else f", p > {protocol.cece_threshold:g}"
        return f"{protocol.cece_classes.replace('-', ' ')}, {protocol.cece_domain} voxels{threshold}"

    columns = {
        "ECE": lambda p: f"{p.ece_confidence}, {p.ece_domain} voxels, {p.ece_bins} bins",
        "CECE": lambda p: f"{cece(p)}, {p.cece_bins} bins",
        "pECE": lambda p: f"{p.pece_bins} bins, weight {p.fp_weight:g}",
        "p = 0": lambda p: "first bin" if p.zero_in_first_bin else "no bin",
        "masks": lambda p: "foreground union" if p.union else "classes",
        "HD95": lambda p: p.hd95,
        "empty rule": lambda p: p.empty,
    }
    lines = [f"| | {' | '.join(f'`{name}`' for name in PROTOCOLS)} |", "|---|" + "---|" * len(PROTOCOLS)]
    for title, cell in columns.items():
        lines.append(f"| {title} | " + " | ".join(cell(protocol) for protocol in PROTOCOLS.values()) + " |")
    return "\n".join(lines)


def hd95_table():
    """The table of HD95 definitions as the README shows it."""
    surfaces = {
        "faces": "voxels with a 6-neighbour outside (4 in 2-D)",
        "full": "26 (8 in 2-D)",
        "corners": "2x2x2 corners",
    }
    lines = ["| `--hd95` | surface | percentile | unit | agrees with |", "|---|---|---|---|---|"]
    for name, definition in HD95_DEFINITIONS.items():
        percentile = "one over both directions" if definition.pooled else "larger of both directions"
        percentile += ", weighted by area" if definition.weighted else ""
        cells = (f"`{name}`", surfaces[definition.surface], percentile, definition.unit, definition.agrees_with)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


@pytest.mark.parametrize("table", [metric_table, protocol_table, hd95_table])
def test_tables_are_the_registries(table):
    assert table() in README, f"paste this into README.md:\n{table()}"


def sessions():
    """Commands and their outputs in the console blocks, in order."""
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A folder that looks like a fresh clone, as far as the commands see."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "sample_data").symlink_to(ROOT / "sample_data")
    return folder


def run(command, folder):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "COLUMNS": "80", "NO_COLOR": "1"}
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, cwd=folder, env=environment, check=False
    )


def test_console_sessions_print_what_is_pasted(clone):
    """In order, since a later command reads what an earlier one wrote."""
    done = list(sessions())
    assert len(done) >= 3
    for command, expected in done:
        result = run(command, clone)
        assert result.returncode in (0, 1), f"{command}\n{result.stderr}"
        assert tidy(result.stdout) == tidy(expected), f"{command} prints now:\n{result.stdout}"


def tidy(text):
    return [line.rstrip() for line in text.strip().splitlines()]


def test_python_examples_print_what_is_pasted(clone):
    """After the console sessions, whose results some of them read."""
    run("calibeval score sample_data/preds sample_data/labelsTr --quiet", clone)
    examples = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", README, re.DOTALL)
    assert len(examples) >= 2
    for code, expected in examples:
        (clone / "example.py").write_text(code)
        result = run(f"{sys.executable} -W error example.py", clone)
        assert result.returncode == 0, result.stderr
        assert tidy(result.stdout) == tidy(expected), f"the example prints now:\n{result.stdout}"


def test_commands_named_exist():
    from typer.testing import CliRunner

    from calibeval.cli import app

    options = set(re.findall(r"`(--[a-z0-9-]+)", README))
    known = set()
    for command in app.registered_commands:
        name = command.name or command.callback.__name__
        known |= set(re.findall(r"--[a-z0-9-]+", CliRunner().invoke(app, [name, "--help"]).stdout))
    assert options <= known, f"the README names options that no command has: {sorted(options - known)}"


def test_the_test_command_installs_every_extra_that_tests_use():
    line = re.search(r"^python -m pip install -c tests/constraints.txt.*$", README, re.MULTILINE)
    assert line
    assert shutil.which("bash")
    for extra in ("train", "plots", "test", "oracles"):
        assert extra in line.group()
