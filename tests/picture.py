"""The README's picture, made from `sample_data`: `python -m tests.picture` writes it anew (needs matplotlib)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import calibeval
from calibeval.bins import pool
from calibeval.metrics.calibration import top_bins
from calibeval.protocol import PROTOCOLS
from tests import ROOT, SAMPLE

PICTURE = ROOT / ".github" / "reliability.svg"
_INK, _GREY, _OVER, _UNDER = "#1f2933", "#9aa5b1", "#c2410c", "#0f6cbd"


def captions() -> dict[str, str]:
    """What stands below each method's name: mean DSC and mean ECE over cases."""
    means = _scored().table.query("case != 'pooled'").groupby(["method", "metric", "class"])["value"].mean()
    return {
        method: f"DSC {means[method, 'DSC', 'mean']:.4f}   ECE {means[method, 'ECE', 'all']:.4f}"
        for method in means.index.unique("method")
    }


def _scored() -> Any:
    return calibeval.score_folder(SAMPLE / "preds", SAMPLE / "labelsTr", metrics="DSC,ECE")


def draw(path: Path) -> None:
    """One reliability diagram a method: share of voxels that are right over the confidence that was stated."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "calibeval", "font.size": 11, "text.color": _INK})
    figure, every = plt.subplots(1, 3, figsize=(10, 3.9), sharey=True, layout="constrained")
    caption = captions()
    for axes, (method, cases) in zip(every, _scored().bins.items(), strict=True):
        bins = top_bins(pool(cases.values())[""], PROTOCOLS["paper"])
        full = bins.n > 0
        stated, right = (part[full] / bins.n[full] for part in (bins.p_sum, bins.positive))
        axes.fill_between(stated, stated, right, where=stated > right, color=_OVER, alpha=0.25, interpolate=True)
        axes.fill_between(stated, stated, right, where=stated < right, color=_UNDER, alpha=0.25, interpolate=True)
        axes.plot([0.3, 1], [0.3, 1], color=_GREY, linestyle="--")
        axes.plot(stated, right, color=_INK, marker="o", markersize=4)
        axes.set(title=f"{method}\n{caption[method]}", xlabel="confidence stated", xlim=(0.3, 1.01), ylim=(0, 1.02))
        axes.spines[["top", "right"]].set_visible(False)
    every[0].set_ylabel("share of voxels that are right")
    figure.savefig(path, metadata={"Date": None}, facecolor="white")


if __name__ == "__main__":
    draw(PICTURE)
