"""However a study comes to its end, its tables are the same bytes."""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack

import pytest

pytest.importorskip("torch")

from calibeval.phantom import write_sample_data
from calibeval.study.collect import collect_tables
from calibeval.study.execute import run_study
from calibeval.study.plan import read_study
from calibeval.study.tables import write_tables
from tests import ROOT
from tests.test_engine_dask import Cluster, wait_for

STUDY = """
[train]
epochs = 3
width = 4
size = 32
[data]
phantoms = "{folder}"
[grid]
methods = ["dicece", "sdc"]
folds = ["1/4", "2/4"]
"""
RUN = """
import sys
from pathlib import Path
from calibeval.study.execute import run_study
from calibeval.study.plan import read_study
run_study(read_study(Path(sys.argv[1]), {}, Path(sys.argv[2])), 1, lambda _: None)
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    write_sample_data(folder / "data")
    path = folder / "mine.toml"
    path.write_text(STUDY.format(folder=folder / "data"), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def undisturbed(file, tmp_path_factory):
    study = read_study(file, {}, tmp_path_factory.mktemp("undisturbed"))
    run_study(study, 1, lambda _: None)
    return tables_of(study)


def tables_of(study):
    write_tables(study.out / "tables", collect_tables(study))
    return {path.name: path.read_bytes() for folder in ("tables", "cases") for path in (study.out / folder).iterdir()}


@pytest.mark.slow
def test_a_study_that_was_killed_goes_on_to_the_same_tables(file, tmp_path, undisturbed):
    study = read_study(file, {}, tmp_path)
    command = [sys.executable, "-c", RUN, str(file), str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    wait_for(lambda: study.runs[1].state == "begun", 300)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [run.state for run in study.runs] == ["done", "begun", "new", "new"]
    assert not any(outcome.error for outcome in run_study(study, 1, lambda _: None))
    assert tables_of(study) == undisturbed
    assert run_study(study, 1, lambda _: None) == []


@pytest.mark.slow
def test_two_workers_of_a_scheduler_make_the_same_tables(file, tmp_path, undisturbed):
    pytest.importorskip("distributed")
    study = read_study(file, {}, tmp_path)
    with ExitStack() as stack:
        cluster = Cluster(stack)
        for _ in range(2):
            cluster.add_worker()
        outcomes = run_study(study, 1, lambda _: None, cluster.address)
    assert not any(outcome.error for outcome in outcomes)
    assert tables_of(study) == undisturbed
