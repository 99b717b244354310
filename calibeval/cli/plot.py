"""`calibeval plot`: single figures, for a paper or the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from calibeval.errors import InputError, UsageError
from calibeval.wording import some_of

if TYPE_CHECKING:
    from calibeval.plots.volumes import Volumes

Kind = Annotated[
    Literal["reliability", "cases", "slices", "maps", "confidence"],
    typer.Argument(
        metavar="KIND",
        help="reliability: says against is right, by bins; cases: a dot a case; confidence: says against is right, a "
        "line a method; slices: image, reference, prediction and errors; maps: where it is sure and wrong, as NIfTI.",
        show_default=False,
    ),
]
Results = Annotated[list[Path], typer.Argument(metavar="RESULTS...", help="Score tables.", show_default=False)]
Out = Annotated[
    Path | None,
    typer.Option("-o", "--out", help="FILE.svg, .png or .pdf; of maps a folder. Default: drawn in the terminal."),
]
Preds = Annotated[
    Path | None, typer.Option("--preds", metavar="DIR", help="Predictions, for slices and maps. Default: as scored.")
]
Labels = Annotated[Path | None, typer.Option("--labels", metavar="DIR", help="Labels. Default: as scored.")]
Images = Annotated[Path | None, typer.Option("--images", metavar="DIR", help="Images to draw slices on.")]
Class = Annotated[
    str,
    typer.Option(
        "--class", metavar="NAMES", help="Of cases a class; else classes, parted by commas, all, boundary, or each."
    ),
]
Case = Annotated[str, typer.Option("--case", metavar="NAME", help="Of slices and maps. Default: the worst; all maps.")]
Metrics = Annotated[str, typer.Option(help="Of cases: comma-separated names. Default: the paper's.")]
Size = Annotated[Literal["column", "page"], typer.Option(help="Width of the figure.")]


def plot(
    kind: Kind,
    results: Results,
    *,
    out: Out = None,
    preds: Preds = None,
    labels: Labels = None,
    images: Images = None,
    class_: Class = "",
    case: Case = "",
    metrics: Metrics = "",
    size: Size = "page",
) -> None:
    """Draw one figure from score tables: reliability, cases, confidence, or slices and maps of the volumes."""
    from calibeval.files import check_writable
    from calibeval.plots.style import check_suffix, save

    if out is None and kind in ("slices", "maps"):
        where = "DIR" if kind == "maps" else "FILE.png"
        raise UsageError(f"plot {kind} cannot be drawn in characters. Say where to: -o {where}.")
    if out is None:
        for line in _text(kind, results, class_, metrics):
            print(line)
        return
    if kind != "maps":
        check_suffix(out)
    check_writable([out / "map" if kind == "maps" else out])
    if kind == "maps":
        _write_maps(_sources(results, preds, labels, images), case, out)
        return
    if kind == "slices":
        from calibeval.plots import slices
        from calibeval.plots.case_strips import worst_case

        sources, name = _sources(results, preds, labels, images), case or worst_case(results)
        volumes = [replace(found.read(method, name), method=shown) for shown, (found, method) in sources.items()]
        axes = slices(volumes, size=size)
    else:
        axes = _figure(kind, results, class_, metrics, size)
    save(axes[0], out)
    print(f"wrote {out}", file=sys.stderr)


def _figure(kind: str, results: list[Path], class_: str, metrics: str, size: str) -> Any:
    from calibeval import plots

    if kind == "cases":
        return plots.cases_panels(results, _names(metrics), class_name=class_, size=size)
    draw = plots.reliability_panels if kind == "reliability" else plots.confidence_panels
    return draw(results, _parts(results, class_), groups=_groups(results), size=size)


def _text(kind: str, results: list[Path], class_: str, metrics: str) -> Iterator[str]:
    from calibeval.cli.console import make_console
    from calibeval.plots.binned import curve_of, read_results
    from calibeval.plots.case_strips import read_metrics
    from calibeval.plots.reliability_diagram import name_of
    from calibeval.plots.terminal import confidence_text, curves_text, strips_text

    console = make_console()
    width = console.width if console.is_terminal else 100
    if kind == "cases":
        for metric, values in read_metrics(results, _names(metrics), class_).items():
            yield from strips_text(f"{metric} {class_}".strip(), values, width)
        return
    tables, groups = read_results(results), _groups(results)
    for part in _parts(results, class_):
        curves = {name: curve_of(table, part, groups) for name, table in tables.items()}
        if kind == "reliability":
            yield name_of(part)
            yield from curves_text(curves, width)
        else:
            yield from confidence_text(name_of(part), curves)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _parts(results: list[Path], class_: str) -> list[str]:
    from calibeval.plots.binned import class_parts, read_results

    if class_ != "each":
        return _names(class_) or ["all"]
    return class_parts(next(iter(read_results(results).values())))


def _groups(results: list[Path]) -> dict[str, str]:
    """Case to its group, where tables lie beside the side files."""
    from calibeval.table import read_table

    frames = [read_table(path)[1] for path in results if path.suffix.lower() == ".csv" and path.is_file()]
    return {
        case: group
        for frame in frames
        for case, group in frame[["case", "group"]].drop_duplicates().itertuples(index=False)
        if group
    }


def _sources(
    results: list[Path], preds: Path | None, labels: Path | None, images: Path | None
) -> dict[str, tuple[Volumes, str]]:
    """Where the volumes of each table's method lie, and its name there."""
    from calibeval.plots.binned import names_of
    from calibeval.plots.volumes import Volumes
    from calibeval.table import read_table

    commands = [read_table(path)[0].command for path in results]
    found = {each: Volumes.of_command(each, preds, labels, images) for each in set(commands)}
    sources = {}
    for name, each in zip(names_of(results), commands, strict=True):
        there = list(found[each].job.pairings)
        if name not in there and len(there) > 1:
            raise UsageError(f"No predictions of {name!r}: there are {some_of(there, 9)}.")
        sources[name] = found[each], name if name in there else there[0]
    return sources


def _write_maps(sources: dict[str, tuple[Volumes, str]], case: str, out: Path) -> None:
    from calibeval.cli.console import print_failures, progress
    from calibeval.files import inside

    tasks = [
        (volumes, method, inside(out, f"{name}/{paths.case}.nii.gz"))
        for name, (volumes, method) in sources.items()
        for paths in volumes.job.pairings[method].cases
        if case in ("", paths.case)
    ]
    if not tasks:
        raise UsageError(f"No case {case!r} among the labels.")
    failures = []
    with progress("maps", len(tasks)) as advance:
        for volumes, method, path in tasks:
            name = path.name.removesuffix(".nii.gz")
            try:
                volumes.write_map(volumes.read(method, name), path)
            except InputError as error:
                failures.append(error)
            advance(name)
    print_failures(failures)
    print(f"wrote {len(tasks) - len(failures)} maps to {out}", file=sys.stderr)
    if failures:
        raise typer.Exit(3)
