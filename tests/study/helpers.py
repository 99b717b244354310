"""A study whose runs are made up: what stands in their `score.csv` is chosen, and nothing is trained."""

import json

from calibeval.study.plan import read_study
from calibeval.table import Row, write_table
from calibeval.train.config import config_to_dict

STUDY = """
[train]
epochs = 2
[data]
heart = "heart"
[[grid]]
table = "losses"
methods = ["dicece", { name = "SDC", loss = "sdc" }]
folds = ["1/3", "2/3"]
seeds = [0, 1]
"""


def make_study(folder, text=STUDY, **choices):
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return read_study(path, choices.pop("data", {}), folder / "out", **choices)


def make_done(run, values):
    """Write a run's table; values are {case: {metric: value}}."""
    rows = [
        Row("any", "any", case, "mean" if metric in ("DSC", "HD95") else "all", metric, value)
        for case, metrics in values.items()
        for metric, value in metrics.items()
    ]
    write_table(run.folder / "score.csv", rows, signature="paper|ECE:x")
    (run.folder / "config.json").write_text(json.dumps(config_to_dict(run.config)), encoding="utf-8")
