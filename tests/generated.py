"""The parts of the documentation that are made from the code: `python -m tests.generated` writes them anew.

A page holds `<!-- NAME: begin ... -->` and `<!-- NAME: end -->`; what stands between them is the part of that name in
`PARTS`. `tests/test_docs.py` fails when a page is stale.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import typer
from typer.models import ArgumentInfo, OptionInfo

from calibeval.cli import app
from calibeval.metrics import METRICS, Metric
from calibeval.protocol import EMPTY_RULES, HD95_DEFINITIONS, MATCHINGS, PROTOCOLS, Protocol
from tests import ROOT
from tests.lesions import METRICS as LESION_METRICS
from tests.lesions import lesion_means

DOCS = ROOT / "calibeval" / "docs"
RENEW = "python -m tests.generated"
_PART = re.compile(r"(<!-- ([a-z0-9-]+): begin[^>]*-->\n)(.*?)(<!-- \2: end -->)", re.DOTALL)


def pages() -> list[Path]:
    """The README and every page that `calibeval explain` shows."""
    return [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]


def renewed(text: str) -> str:
    """A page with its generated parts as the code has them now; a part that cannot be made here stays as it is."""

    def renew(match: re.Match[str]) -> str:
        begin, name, old, end = match.groups()
        try:
            return f"{begin}{PARTS[name]()}\n{end}"
        except ModuleNotFoundError as error:
            if error.name not in ("torch", "monai"):
                raise
            return f"{begin}{old}{end}"

    return _PART.sub(renew, text)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    body = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    lines = [f"| {' | '.join(line)} |" for line in (head, *body)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def metrics() -> str:
    """The table of metrics."""
    better = {"higher": "higher", "lower": "lower", "zero": "nearer 0"}
    head = ("metric", "unit", "better", "0 if calibrated", "formula", "undefined", "source")

    def row(m: Metric) -> Sequence[str]:
        name, formula = f"**{m.name}** {m.long_name}", f"`{m.formula}`"
        return name, m.unit, better[m.better], _zero_if_calibrated(m), formula, m.undefined, m.citation

    return _table(head, map(row, METRICS.values()))


def _zero_if_calibrated(metric: Metric) -> str:
    """Protocols under which a calibrated model gets 0."""
    zero = [name for name, protocol in PROTOCOLS.items() if metric.is_zero_if_calibrated(protocol.signature)]
    return {0: "no", len(PROTOCOLS): "yes"}.get(len(zero), ", ".join(f"`{name}`" for name in zero))


def matchings() -> str:
    """The table of matchings of lesions."""
    return _table(
        ("`--matching`", "a lesion of the reference is found by"), ((f"`{k}`", v) for k, v in MATCHINGS.items())
    )


def losses() -> str:
    """The table of losses; needs torch."""
    from calibeval.train.losses import LOSSES

    return _table(
        ("`--loss`", "formula", "variants", "source"),
        (
            (
                f"**{loss.name}** {loss.long_name}",
                f"`{loss.formula}`",
                ", ".join(f"`{name}`" for name in loss.variants),
                loss.citation,
            )
            for loss in LOSSES.values()
        ),
    )


def trainers() -> str:
    """The table of nnU-Net's trainers; needs torch."""
    from calibeval.train.losses import LOSSES
    from calibeval.train.nnunet import trainer_name

    def named(specs: Iterable[str]) -> str:
        return ", ".join(f"`{trainer_name(spec)}`" for spec in specs)

    rows = ((named([loss.name]), named(f"{loss.name}:{name}" for name in loss.variants)) for loss in LOSSES.values())
    return _table(("published setting", "variants"), rows)


def protocols() -> str:
    """The table of protocols, one a column."""
    choices = {
        "ECE": lambda p: f"{p.ece_confidence}, {p.ece_domain} voxels, {p.ece_bins} bins",
        "CECE": _cece,
        "pECE": lambda p: f"{p.pece_bins} bins, weight {p.fp_weight:g}",
        "p = 0": lambda p: "first bin" if p.zero_in_first_bin else "no bin",
        "masks": lambda p: "foreground union" if p.union else "classes",
        "HD95": lambda p: p.hd95,
        "empty rule": lambda p: p.empty,
    }
    rows = ([title, *(cell(protocol) for protocol in PROTOCOLS.values())] for title, cell in choices.items())
    return _table(["", *(f"`{name}`" for name in PROTOCOLS)], rows)


def _cece(protocol: Protocol) -> str:
    value = "p" if protocol.cece_threshold_on == "voxels" else "class with a mean p"
    threshold = "" if protocol.cece_threshold is None else f", {value} > {protocol.cece_threshold:g}"
    classes = protocol.cece_classes.replace("-", " ")
    return f"{classes}, {protocol.cece_domain} voxels{threshold}, {protocol.cece_bins} bins"


def hd95() -> str:
    """The table of HD95 definitions."""
    surfaces = {
        "faces": "voxels with a 6-neighbour outside (4 in 2-D)",
        "full": "26 (8 in 2-D)",
        "corners": "2x2x2 corners",
        "voxels": "none: every voxel of the mask",
    }

    def percentile(pooled: bool, weighted: bool) -> str:
        text = "one over both directions" if pooled else "larger of both directions"
        return text + (", weighted by area" if weighted else "")

    return _table(
        ("`--hd95`", "surface", "percentile", "unit", "agrees with"),
        (
            (f"`{name}`", surfaces[d.surface], percentile(d.pooled, d.weighted), d.unit, d.agrees_with)
            for name, d in HD95_DEFINITIONS.items()
        ),
    )


def empty_rules() -> str:
    """The table of empty rules."""
    return _table(("`--empty`", "meaning"), ((f"`{name}`", meaning) for name, meaning in EMPTY_RULES.items()))


def cli() -> str:
    """Every command: how it is called, its arguments and options."""
    return "\n\n".join(_command(f"calibeval {name}", function) for name, function in commands(app))


def commands(group: typer.Typer, prefix: str = "") -> Iterator[tuple[str, Callable[..., Any]]]:
    """Names of the commands, those of a group as `GROUP NAME`, and the functions behind them."""
    for command in group.registered_commands:
        assert command.callback
        yield prefix + (command.name or command.callback.__name__.replace("_", "-")), command.callback
    for below in group.registered_groups:
        assert below.typer_instance
        yield from commands(below.typer_instance, f"{prefix}{below.name or below.typer_instance.info.name} ")


class _Parameter(NamedTuple):
    """An argument or option, as Typer reads it from a function's signature."""

    name: str
    default: Any
    kind: Any
    info: ArgumentInfo | OptionInfo

    @property
    def words(self) -> str:
        """What is typed: `PREDS`, or `` `--bins INT` ``."""
        if isinstance(self.info, ArgumentInfo):
            return (self.info.metavar or self.name.upper()).strip("[]")
        declared = (self.info.default, *(self.info.param_decls or ()))  # in Annotated, the first name is `default`
        names = [name for name in declared if isinstance(name, str) and name.startswith("-")]
        names = names or [f"--{self.name.strip('_').replace('_', '-')}"]
        return ", ".join(f"`{name}`" for name in names) + (f" `{value}`" if (value := self._value()) else "")

    def _value(self) -> str:
        kinds = [kind for kind in get_args(self.kind) if kind is not type(None)] or [self.kind]
        if get_origin(self.kind) is Literal:
            return "|".join(get_args(self.kind))
        if get_origin(kinds[0]) is not None:
            return self._replace(kind=kinds[0])._value()
        return "" if kinds[0] is bool else self.info.metavar or kinds[0].__name__.upper()

    @property
    def shown_default(self) -> str:
        """The default where it is a value of its own."""
        return "" if self.default in (None, "", False, inspect.Parameter.empty) else f"`{self.default}`"


def _command(name: str, function: Callable[..., Any]) -> str:
    hints = get_type_hints(function, include_extras=True)
    found = [
        _Parameter(each.name, each.default, *get_args(hints[each.name])[:2])
        for each in inspect.signature(function).parameters.values()
    ]
    arguments = [each for each in found if isinstance(each.info, ArgumentInfo)]
    options = [each for each in found if isinstance(each.info, OptionInfo)]
    words = [a.words if a.default is inspect.Parameter.empty else f"[{a.words}]" for a in arguments]
    parts = [f"## {name}", inspect.getdoc(function) or ""]
    parts.append(f"```text\n{' '.join([name, *words, *(['[OPTIONS]'] if options else [])])}\n```")
    if arguments:
        parts.append(_table(("argument", "meaning"), ((f"`{a.words}`", a.info.help or "") for a in arguments)))
    if options:
        rows = ((o.words, o.info.help or "", o.shown_default) for o in options)
        parts.append(_table(("option", "meaning", "default"), rows))
    return "\n\n".join(parts)


def lesions() -> str:
    """Each model's numbers; the best of a metric in bold."""
    found = lesion_means()
    best = {
        metric: min(abs(values[metric]) for values in found.values() if not math.isnan(values[metric]))
        for metric in LESION_METRICS
    }

    def cell(name: str, metric: str) -> str:
        value = found[name][metric]
        if math.isnan(value):
            return "none"
        return f"**{value:.3f}**" if abs(value) == best[metric] else f"{value:.3f}"

    return _table(
        ("a model says", *LESION_METRICS), ((name, *(cell(name, m) for m in LESION_METRICS)) for name in found)
    )


PARTS = {
    "metrics": metrics,
    "lesions": lesions,
    "matchings": matchings,
    "losses": losses,
    "trainers": trainers,
    "protocols": protocols,
    "hd95": hd95,
    "empty-rules": empty_rules,
    "cli": cli,
}


def main() -> None:
    """Write every page whose generated parts are stale, and name it."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        if (new := renewed(text)) != text:
            page.write_text(new, encoding="utf-8")
            print(f"wrote {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
