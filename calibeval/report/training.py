"""Curves of a training run."""

from __future__ import annotations

from pathlib import Path

from calibeval.errors import UsageError
from calibeval.files import read_csv
from calibeval.plots.curves import training_curves
from calibeval.report.figures import svg_of
from calibeval.report.page import Figure, Gap


def training_part(run: Path) -> tuple[tuple[Figure, ...], tuple[Gap, ...]]:
    """The picture of a run's `metrics.csv`, or why there is none."""
    try:
        _, lines = read_csv(run / "metrics.csv", ("epoch", "loss", "val_DSC"))
        history = [{name: float(value) for name, value in row.items()} for _, row in lines]
    except UsageError as error:
        return (), (Gap("Training curves", str(error)),)
    except ValueError as error:
        return (), (Gap("Training curves", f"{run / 'metrics.csv'} holds what is no number ({error})."),)
    best = max(history, key=lambda row: row["val_DSC"])
    words = (
        f"{len(history)} epochs: loss {history[0]['loss']:.3f} to {history[-1]['loss']:.3f}; best validation DSC "
        f"{best['val_DSC']:.3f} after epoch {best['epoch']:.0f}"
    )
    return (Figure(run.name, words, svg_of(training_curves(history)[0], f"Training curves. {words}")),), ()
