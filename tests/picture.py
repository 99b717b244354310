"""The README's picture, made from `sample_data`: `python -m tests.picture` writes it anew (needs matplotlib)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import calibeval
from tests import ROOT, SAMPLE

PICTURE = ROOT / ".github" / "reliability.svg"


def captions() -> dict[str, str]:
    """What stands below each method's diagram: mean DSC and mean ECE over cases."""
    means = _scored().table.query("case != 'pooled'").groupby(["method", "metric", "class"])["value"].mean()
    return {
        method: f"DSC {means[method, 'DSC', 'mean']:.4f}   ECE {means[method, 'ECE', 'all']:.4f}"
        for method in means.index.unique("method")
    }


def _scored() -> Any:
    return calibeval.score_folder(SAMPLE / "preds", SAMPLE / "labelsTr", metrics="DSC,ECE,gap")


def draw(path: Path) -> None:
    """One reliability diagram a method; letters stay letters, so that a test can read them."""
    from matplotlib import rc_context

    from calibeval.plots.style import figure_of

    panels = calibeval.plots.reliability_panels(_scored())
    for ax, caption in zip(panels, captions().values(), strict=True):
        ax.child_axes[0].set_xlabel(f"the model says\n{caption}")
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "calibeval"}):
        figure = figure_of(panels[0])
        figure.savefig(path, metadata={"Date": None}, facecolor="white", bbox_inches="tight", pad_inches=0.1)


if __name__ == "__main__":
    draw(PICTURE)
