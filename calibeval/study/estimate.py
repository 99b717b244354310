"""How long the runs that are left will train, by the measured time of a step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from calibeval.errors import CalibevalError
from calibeval.phantom import write_sample_data
from calibeval.study.plan import SAMPLE, Run, Study
from calibeval.wording import count_of

_STEPS = 3  # measured of each method
_HOUR = 3600


def estimate(study: Study, workers: int) -> Iterator[str]:
    """A line for each data set and backbone, and one in all; trains some steps and writes nothing."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in study.runs:
        if run.state != "done":
            groups.setdefault((run.data, run.backbone), []).append(run)
    total = 0.0
    for (data, backbone), runs in groups.items():
        try:
            seconds, text = _measure(runs, study.threads)
        except CalibevalError as error:
            seconds, text = 0.0, f"not measured: {error}"
        total += seconds
        yield f"{data} {backbone}: {text}"
    if total:
        yield (
            f"about {_time(total / workers)} of training steps with {count_of(workers, 'worker')}, as fast as this "
            "machine is now; validation, prediction and scoring come on top"
        )


def _measure(runs: list[Run], threads: int) -> tuple[float, str]:
    from calibeval.train.insight import measure_steps
    from calibeval.train.team import limit_threads

    limit_threads(threads)
    configs = {run.method: run.config for run in reversed(runs)}
    with TemporaryDirectory() as scratch:
        if Path(runs[0].config.data).name == SAMPLE and not Path(runs[0].config.data).exists():
            write_sample_data(Path(scratch))
            configs = {method: replace(config, data=scratch) for method, config in configs.items()}
        found, batches = measure_steps(configs, _STEPS)
    step = {method: median(times) for method, times in found.items()}
    seconds = sum(step[run.method] * batches * run.config.epochs for run in runs)
    low, high = min(step.values()), max(step.values())
    return seconds, (
        f"{count_of(len(runs), 'run')} of {batches} steps an epoch, {low:.3f} to {high:.3f} s a step: {_time(seconds)}"
    )


def _time(seconds: float) -> str:
    return f"{seconds / _HOUR:.1f} h" if seconds > _HOUR else f"{seconds / 60:.1f} min"
