"""The README's section on training is true: its table of losses is the registry's, its example runs."""

import re

import torch

from calibeval.train.losses import LOSSES
from tests import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def loss_table():
    """The table of losses as the README shows it."""
    lines = ["| `--loss` | formula | variants | source |", "|---|---|---|---|"]
    for loss in LOSSES.values():
        formula = loss.formula.replace("|", "\\|")
        variants = ", ".join(f"`{name}`" for name in loss.variants)
        lines.append(f"| **{loss.name}** {loss.long_name} | `{formula}` | {variants} | {loss.citation} |")
    return "\n".join(lines)


def test_the_table_is_the_registry():
    assert loss_table() in README, f"paste this into README.md:\n{loss_table()}"


def test_the_example_runs():
    code = next(code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "train.losses" in code)
    names = {}
    exec(code, names)
    assert isinstance(names["logits"].grad, torch.Tensor)
