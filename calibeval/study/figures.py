"""A study's figures, from its run folders: a table of figures, each a function of a grid's runs on one data set."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from calibeval.bins import bins_path, read_bins
from calibeval.errors import CalibevalError, MissingExtraError
from calibeval.files import write_text
from calibeval.metrics import METRICS, badness
from calibeval.plots import maps, studies
from calibeval.plots.maps import Picture, Scale
from calibeval.plots.style import (
    SMALL,
    WIDTHS,
    Grid,
    Legend,
    figure_of,
    looks,
    need_matplotlib,
    new_panels,
    save,
    style,
)
from calibeval.study.collect import StudyTable
from calibeval.study.plan import Run, Study, slug
from calibeval.study.samples import Sample, held_out, one_run_a_method, read_history

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CHANCE = Scale("probability of foreground", 0, 1, "viridis", 0.65)
_CONFIDENCE = Scale("confidence, max p", 0.5, 1, "viridis")
_WRONG = Scale("confidence where wrong", 0, 1, "inferno")
_HEAT = Scale("Grad-CAM", 0, 1, "inferno", 0.55)
_DISTANCE = Scale("signed distance [pixels]", -10, 10, "RdBu")
_CURVES = ("DSC", "HD95", "ECE")
_CLIP = 1e-6  # of p in its logit


class Scene(NamedTuple):
    """What a figure is made of.

    Attributes:
        folder: of the figures.
        table: numbers of the grid.
        data: set.
        runs: one a method, of one fold and seed.
        sample: a case that they held out.
    """

    folder: Path
    table: StudyTable
    data: str
    runs: Sequence[Run]
    sample: Sample

    @property
    def shown(self) -> Run:
        """The run that pictures of one method show: of SDC where there is one, else the last."""
        return next((run for run in self.sample.runs if run.config.loss.startswith("sdc")), self.sample.runs[-1])

    @property
    def image(self) -> Any:
        """The sample's slice, first channel."""
        return self.sample.images[self.sample.slice, 0]

    @property
    def label(self) -> Any:
        """Of the slice."""
        return self.sample.labels[self.sample.slice]

    def chances(self, method: str) -> Any:
        """Probabilities (C, H, W) of the slice."""
        return self.sample.probabilities[method][:, self.sample.slice]


def write_figures(study: Study, tables: Sequence[StudyTable], tell: Callable[[str], None]) -> list[Path]:
    """Draw what each grid's runs allow, as SVG and PNG in `OUT/figures`; `tell` hears what could not be drawn."""
    try:
        need_matplotlib()
    except MissingExtraError as error:
        tell(f"no figures: {error}")
        return []
    from calibeval.train.team import limit_threads

    limit_threads(study.threads)
    written: list[Path] = []
    for table, data in [(each, data) for each in tables for data in each.grid.data]:
        runs = one_run_a_method(table, data)
        if not runs:
            continue
        scene = Scene(study.out / "figures", table, data, runs, Sample(runs))
        for name, draw in _wanted(table):
            try:
                with style():
                    drawn = draw(scene)
            except (CalibevalError, OSError) as error:
                tell(f"figure {name} of {table.name}, {data}: {error}")
                continue
            if drawn is not None:
                paths = [scene.folder / f"{slug(f'{table.name}-{data}')}-{name}{suffix}" for suffix in (".svg", ".png")]
                for path in paths:
                    save(drawn, path)
                written += paths
    return written


def _wanted(table: StudyTable) -> Iterator[tuple[str, Callable[[Scene], Axes | None]]]:
    """Figures of a grid: pictures where losses are compared, a heat map where a number is varied."""
    varied = table.varied()
    yield from {name: draw for name, draw in FIGURES.items() if not varied or name == "convergence"}.items()
    if varied not in ("", "morph"):
        yield "weights", _weights


def _pece(scene: Scene) -> Axes | None:
    """What pECE charges in one case, bin by bin."""
    from calibeval.metrics.calibration import foreground_bins
    from calibeval.protocol import make_protocol

    protocol = make_protocol("paper")
    table = read_bins(bins_path(scene.shown.folder / "score.csv"))
    bins = foreground_bins(table.cases[scene.sample.case][""], protocol)
    full, negative = np.maximum(bins.n, 1), np.maximum(bins.n - bins.positive, 1)
    gap, charge = (bins.p_sum - bins.positive) / full, protocol.fp_weight * bins.negative_p_sum / negative
    axes = studies.pece_charges(gap, charge, bins.n / bins.voxels)
    axes.set_title(f"{scene.shown.method}, case {scene.sample.case}", size=SMALL)
    return axes


def _sdf(scene: Scene) -> Axes:
    """The largest class: where it is, how far each pixel is from it, what probability that stands for, and p."""
    from calibeval.train.insight import distances

    chances = scene.chances(scene.shown.method)
    largest = 1 + int(np.bincount(scene.label[scene.label > 0], minlength=len(chances))[1 : len(chances)].argmax())
    mask, distance = (scene.label == largest).astype(int), distances(scene.label[None], len(chances))[0, largest]
    chance = _CHANCE._replace(name="probability", opacity=1.0)
    panels = [
        Picture("image, reference", scene.image, reference=mask),
        Picture("signed distance s", values=distance, scale=_DISTANCE, reference=mask),
        Picture("target p* = \u03c3(-\u03ba s)", values=1 / (1 + np.exp(distance)), scale=chance, reference=mask),
        Picture(f"p of {scene.shown.method}", values=chances[largest], scale=chance, reference=mask),
    ]
    return maps.pictures(panels, 4)[0]


def _confidence(scene: Scene) -> Axes:
    """Each method's confidence, and where it is confident and wrong, beside its ECE in this case."""
    panels = []
    for run in scene.sample.runs:
        chances = scene.chances(run.method)
        top, wrong = chances.max(axis=0), chances.argmax(axis=0) != scene.label
        title = f"{run.method}: ECE {scene.sample.value(run, 'ECE'):.3f}"
        panels.append(Picture(title, values=top, scale=_CONFIDENCE, reference=scene.label))
        panels.append(
            Picture(f"{run.method}: wrong", values=np.where(wrong, top, 0), scale=_WRONG, reference=scene.label)
        )
    return maps.pictures(panels, 6 if len(panels) > 4 else 4)[0]


def _gradcam(scene: Scene) -> Axes | None:
    """What raises the largest class, by method."""
    from calibeval.train.insight import grad_cam

    largest = 1 + int(np.bincount(scene.label[scene.label > 0])[1:].argmax())
    image = scene.sample.images[scene.sample.slice]
    found = {r.method: grad_cam(r.folder / "best.pt", image, largest) for r in scene.sample.runs if _is_ours(r)}
    mask = (scene.label == largest).astype(int)
    panels = [Picture(name, scene.image, cam, _HEAT, mask) for name, cam in found.items() if cam is not None]
    return maps.pictures(panels, min(5, len(panels)))[0] if panels else None


def _methods(scene: Scene) -> Axes:
    """All methods side by side, trained to the end."""
    return _side_by_side(scene, [f"DSC {scene.sample.value(run, 'DSC'):.3f}" for run in scene.sample.runs])


def _one_step(scene: Scene) -> Axes | None:
    """All methods side by side at the first training step whose predictions were kept."""
    steps = scene.shown.config.keep_predictions
    sample = Sample(scene.runs, steps[0]) if steps else None
    if sample is None or not sample.case:
        return None
    return _side_by_side(scene._replace(sample=sample), [f"step {steps[0]}"] * len(sample.runs))


def _side_by_side(scene: Scene, words: Sequence[str]) -> Axes:
    panels = [Picture("image", scene.image, reference=scene.label)]
    for run, word in zip(scene.sample.runs, words, strict=True):
        chances = scene.chances(run.method)
        panels.append(
            Picture(f"{run.method}: {word}", scene.image, 1 - chances[0], _CHANCE, scene.label, chances.argmax(axis=0))
        )
    return maps.pictures(panels, min(5, len(panels)))[0]


def _convergence(scene: Scene) -> Axes | None:
    """Validation numbers over epochs, over all folds and seeds."""
    histories: dict[str, list[dict[str, Any]]] = {}
    for run in (run for run in scene.table.runs if run.data == scene.data):
        if (run.folder / "metrics.csv").is_file():
            histories.setdefault(run.method, []).append(read_history(run))
    held = {name for runs in histories.values() for history in runs for name in history}
    shown = [name for name in _CURVES if f"val_{name}" in held]
    if not shown:
        return None
    size = "page" if len(shown) > 1 else "column"
    legend = Legend.of(dict.fromkeys(histories, ""), 0.94 * WIDTHS[size])
    panels = new_panels(len(shown), len(shown), size, Grid(0.8, left=0.6, apart=0.6, bottom=0.35 + legend.height))
    for axes, name in zip(panels, shown, strict=True):
        curves = {
            method: [history.get(f"val_{name}", np.array([np.nan])) for history in runs]
            for method, runs in histories.items()
        }
        studies.convergence(curves, f"validation {name}", axes)
    legend.draw(figure_of(panels[0]), looks(histories), loc="lower left", bbox_to_anchor=(0.05, 0.01))
    return panels[0]


def _step_time(scene: Scene) -> Axes | None:
    """Time of a training step by method, measured once and kept in `steps.json` beside the runs."""
    path = scene.folder.parent / f"{slug(f'{scene.table.name}-{scene.data}')}-steps.json"
    if not path.is_file():
        from calibeval.train.insight import measure_steps

        seconds, _ = measure_steps({run.method: run.config for run in scene.runs if _is_ours(run)})
        write_text(path, json.dumps(seconds, indent=1) + "\n")
    return studies.step_times(json.loads(path.read_text(encoding="utf-8")))


def _weights(scene: Scene) -> Axes:
    """Each metric over the values of the weight that the methods differ in."""
    key = scene.table.varied()
    columns = [column for column in scene.table.columns if column.data == scene.data]
    methods = [m for m in scene.table.grid.methods if m.name in scene.table.methods]
    bad = [
        [badness(c.cells[m.name].mean, METRICS[c.metric].better) if m.name in c.cells else np.nan for c in columns]
        for m in methods
    ]
    rows = [str(method.settings.get(key, "default")) for method in methods]
    return studies.heat_map(np.array(bad), rows, [column.metric for column in columns], name=key)


def _appendix_c(scene: Scene) -> Axes:
    """Probabilities against distances, over all cases that a run held out, and the bound case by case."""
    run, kappa = scene.shown, float(scene.shown.config.settings.get("kappa", 1.0))
    cases = [_stated_and_true(labels, chances) for labels, chances in held_out(run)]
    left, middle, right = new_panels(3, 3, "page", Grid(0.9, left=0.5, bottom=0.4, apart=0.5))
    stated, true = (np.concatenate(parts) for parts in zip(*cases, strict=True))
    studies.sdf_bound(stated, true, kappa, (left, middle))
    errors = (studies.errors_and_distances(*case, kappa) for case in cases)
    studies.case_bounds([(error.mean(), kappa / 4 * delta.mean()) for error, delta in errors], right)
    return left


def _stated_and_true(labels: Any, chances: Any) -> tuple[Any, Any]:
    """Probabilities of the foreground classes, and distances to them where these were computed."""
    from calibeval.train.insight import distances

    true = distances(labels, len(chances)).swapaxes(0, 1)[1:].astype(np.float64)
    near = np.abs(true) < _DISTANCE.high
    return np.clip(chances[1:].astype(np.float64), _CLIP, 1 - _CLIP)[near], true[near]


def _is_ours(run: Run) -> bool:
    """Whether the network is one that calibeval trains itself."""
    return (run.folder / "best.pt").is_file()


FIGURES: Mapping[str, Callable[[Scene], Any]] = {
    "pece": _pece,
    "sdf": _sdf,
    "confidence": _confidence,
    "gradcam": _gradcam,
    "methods": _methods,
    "one-step": _one_step,
    "convergence": _convergence,
    "step-time": _step_time,
    "appendix-c": _appendix_c,
}
