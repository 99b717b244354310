"""Whole runs: the same bytes for any number of workers, after a kill, after Ctrl-C, and with a worker that dies."""

import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibeval import score_folder
from calibeval.errors import UsageError
from calibeval.io.cases import open_case
from calibeval.io.pairing import CasePaths
from calibeval.scoring import job as job_module
from calibeval.scoring import raters as raters_module
from calibeval.scoring.job import choose_workers, run_job, table_path, write_method
from calibeval.scoring.options import ScoreOptions
from calibeval.scoring.plan import plan_job
from calibeval.scoring.readout import read_case
from calibeval.scoring.shards import ShardStore
from tests.case_files import make_case, write_folders, write_itk, write_names, write_nifti

CASES = 6
SHAPE = (30, 61, 70)
OUTPUTS = ("m.csv", "m.bins.npz")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Cases of all kinds: good ones, one that is broken, one without prediction, one with notes."""
    folder = tmp_path_factory.mktemp("data")
    for index in range(CASES):
        probabilities, label = make_case(index, shape=SHAPE)
        write_nifti(folder / "labels" / f"c{index}.nii.gz", label)
        if index != 4:
            write_nifti(folder / "preds" / "m" / f"c{index}.nii.gz", probabilities)
    (folder / "preds" / "m" / "c2.nii.gz").write_bytes(b"broken")
    np.savez_compressed(folder / "preds" / "m" / "c5.npz", probabilities=make_case(5, shape=SHAPE)[0])
    processed = make_case(5, shape=SHAPE)[0].argmax(axis=0).astype(np.uint8)
    processed[0] = 0
    write_nifti(folder / "preds" / "m" / "c5.nii.gz", processed)
    write_names(folder / "labels")
    return folder / "preds", folder / "labels"


def command(data, out, *options, program=("-m", "calibeval")):
    arguments = ["score", data[0], data[1], "--out", out, "--metrics", "all", *options]
    return [sys.executable, *map(str, (*program, *arguments))]


STUCK = """
import time
import calibeval.cli, calibeval.scoring.job

original = calibeval.scoring.job.open_case

def open_case(paths, *arguments, **options):
    if paths.case == "c5":
        time.sleep(600)
    return original(paths, *arguments, **options)

calibeval.scoring.job.open_case = open_case  # in workers too: they import this file

if __name__ == "__main__":
    calibeval.cli.run()
"""


@pytest.fixture
def stuck(data, tmp_path):
    """Start a run that gets stuck in its last case, so that it can be disturbed."""
    program = tmp_path / "stuck.py"
    program.write_text(STUCK)
    out = tmp_path / "out"

    def start(workers):
        line = command(data, out, "--workers", workers, program=[program])
        process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, start_new_session=True)
        end = time.monotonic() + 120  # a bound against hanging, not a measurement
        while len(list(out.glob("*/*.npz"))) < 3:  # c0, c1 and c3; c2 is broken, and c4 missing
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        return process, out

    return start


def run(data, out, *options):
    return subprocess.run(command(data, out, *options), capture_output=True, text=True, check=False)


def contents(out):
    return {name: (out / name).read_bytes() for name in OUTPUTS}


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    done = run(data, out, "--workers", 1)
    assert done.returncode == 3
    assert done.stderr.count("calibeval: m/") == 2
    assert sorted(path.name for path in out.iterdir()) == sorted(OUTPUTS)
    return contents(out)


@pytest.mark.parametrize("workers", [2, 3])
def test_the_number_of_workers_changes_no_byte(workers, data, undisturbed, tmp_path):
    assert run(data, tmp_path, f"--workers={workers}").returncode == 3
    assert contents(tmp_path) == undisturbed


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(workers, data, undisturbed, stuck):
    process, out = stuck(workers)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    (shards,) = out.iterdir()
    assert len(list(shards.glob("*.npz"))) == 3
    done = run(data, out, "--workers", workers, "--resume")
    assert done.returncode == 3
    assert "afresh" not in done.stderr
    assert contents(out) == undisturbed
    assert sorted(path.name for path in out.iterdir()) == sorted(OUTPUTS)


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_says_how_to_go_on(workers, data, undisturbed, stuck):
    process, out = stuck(workers)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to parent and workers alike
    _, err = process.communicate(timeout=60)
    # CPython dies of the signal itself when it came during an exec; shells say 130 of both
    assert process.returncode in (130, -signal.SIGINT)
    assert err == "calibeval: interrupted. What is done is kept: the same command with --resume goes on.\n"
    assert not (out / "m.csv").exists()
    assert run(data, out, "--resume").returncode == 3
    assert contents(out) == undisturbed


def test_without_resume_a_run_starts_afresh_and_says_so(data, tmp_path, undisturbed):
    store = ShardStore(tmp_path / "m.csv")
    store.folder.mkdir()
    (store.folder / "x.npz").touch()
    done = run(data, tmp_path, "--workers", 1)
    assert "calibeval: starting m afresh; --resume would continue the last run." in done.stderr
    assert contents(tmp_path) == undisturbed


@pytest.fixture
def small(tmp_path):
    return write_folders(tmp_path)


def counting(monkeypatch):
    """Names of the cases that are really scored."""
    seen = []
    original = open_case

    def open_and_count(paths, *arguments, **options):
        seen.append(paths.case)
        return original(paths, *arguments, **options)

    monkeypatch.setattr(job_module, "open_case", open_and_count)
    return seen


def finish(preds, labels, store, **choices):
    (score,) = run_job(plan_job(preds, labels, ScoreOptions(**choices)), stores={"m": store})
    return score


def test_what_is_done_is_not_done_again_unless_something_changed(small, tmp_path, monkeypatch):
    preds, labels = small
    store, seen = ShardStore(tmp_path / "m.csv"), counting(monkeypatch)
    first = finish(preds, labels, store)
    assert seen == ["a", "b", "c"]
    seen.clear()
    again = finish(preds, labels, store)
    assert seen == []
    assert repr(again.rows) == repr(first.rows)
    os.utime(preds / "b.nii.gz", ns=(1, 1))
    finish(preds, labels, store)
    assert seen == ["b"]
    seen.clear()
    for choices in ({"protocol": "guo"}, {"metrics": "ECE"}, {"spacing_mm": (1.0, 1.0, 1.0)}):
        finish(preds, labels, store, **choices)
        assert seen == ["a", "b", "c"]
        seen.clear()


def test_a_case_is_done_again_when_the_data_beside_its_header_changed(tmp_path, monkeypatch):
    probabilities, label = make_case(0)
    preds, labels = tmp_path / "preds", tmp_path / "labels"
    write_itk(preds / "a.mhd", label)
    write_itk(labels / "a.nrrd", label)
    store, seen = ShardStore(tmp_path / "m.csv"), counting(monkeypatch)
    classes = {"classes": "background,RV,LV", "metrics": "DSC"}
    value = {row.case: row.value for row in finish(preds, labels, store, **classes).rows if row.class_name == "RV"}
    assert value["a"] == 1
    (preds / "a.raw").write_bytes(probabilities.argmax(axis=0).astype(np.uint8).tobytes())
    value = {row.case: row.value for row in finish(preds, labels, store, **classes).rows if row.class_name == "RV"}
    assert value["a"] < 1
    assert seen == ["a", "a"]


def test_a_failed_case_is_tried_again(small, tmp_path, monkeypatch):
    preds, labels = small
    store, seen = ShardStore(tmp_path / "m.csv"), counting(monkeypatch)
    whole = (preds / "b.nii.gz").read_bytes()
    (preds / "b.nii.gz").write_bytes(b"broken")
    assert set(finish(preds, labels, store).errors) == {"b"}
    seen.clear()
    assert set(finish(preds, labels, store).errors) == {"b"}
    assert seen == ["b"]
    (preds / "b.nii.gz").write_bytes(whole)
    assert finish(preds, labels, store).errors == {}


def test_no_method_is_done_twice_after_a_kill(tmp_path, cli, monkeypatch):
    """The first method is written and the second breaks off: --resume must find the first one's cases too."""
    write_folders(tmp_path, method="m1")
    _, labels = write_folders(tmp_path, method="m2")
    original = read_case

    def break_off(case, *arguments):
        if "m2" in case.origin and case.name == "b":
            raise KeyboardInterrupt
        return original(case, *arguments)

    monkeypatch.setattr(raters_module, "read_case", break_off)
    outcome = cli("score", tmp_path / "preds", labels, "--workers", 1)
    assert outcome.code == 130
    assert Path("results/m1.csv").exists()
    assert not Path("results/m2.csv").exists()
    monkeypatch.setattr(raters_module, "read_case", original)
    seen = counting(monkeypatch)
    assert cli("score", tmp_path / "preds", labels, "--resume").code == 0
    assert seen == ["b", "c"]
    assert sorted(path.name for path in Path("results").iterdir()) == [
        "m1.bins.npz", "m1.csv", "m2.bins.npz", "m2.csv",
    ]  # fmt: skip


def test_a_case_that_kills_its_worker_costs_itself_alone(tmp_path):
    """A reader that takes the process down, as broken native libraries and the kernel's memory killer do."""
    write_folders(tmp_path)
    (tmp_path / "run.py").write_text(
        textwrap.dedent("""
        import os, sys
        import calibeval.scoring.job

        original = calibeval.scoring.job.open_case

        def open_case(paths, *arguments, **options):
            if paths.case == "b":
                os._exit(9)
            return original(paths, *arguments, **options)

        calibeval.scoring.job.open_case = open_case

        if __name__ == "__main__":
            found = calibeval.score_folder("preds/m", "labels", workers=2)
            print(found.methods[0].errors)
            print(sorted(found.methods[0].bins))
        """)
    )
    done = subprocess.run([sys.executable, "run.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    errors, scored = done.stdout.splitlines()
    assert errors == ("{'b': 'its process died twice, most likely for lack of memory. Try --workers 1 and --resume.'}")
    assert scored == "['a', 'c']"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "not enough memory for this case. Try --workers 1"),
        (ZeroDivisionError("x"), "unexpected ZeroDivisionError: x. This is a bug; please report it."),
    ],
)
def test_what_nobody_foresaw_is_a_row_too(error, reason, small, monkeypatch):
    def fail(case, *_):
        if case.name == "b":
            raise error
        return original(case, *_)

    original = read_case
    monkeypatch.setattr(raters_module, "read_case", fail)
    (method,) = score_folder(*small).methods
    assert set(method.bins) == {"a", "c"}
    assert method.errors["b"].startswith(reason)


def test_cases_come_in_the_order_of_their_names(small):
    (method,) = score_folder(*small, workers=2).methods
    assert list(dict.fromkeys(row.case for row in method.rows)) == ["a", "b", "c", "pooled"]


def test_progress_is_told_case_by_case(small):
    seen = []
    list(run_job(plan_job(*small), progress=lambda case, score: seen.append((case, bool(score.bins)))))
    assert seen == [("a", True), ("b", True), ("c", True)]


@pytest.mark.parametrize("unnamed", ["probabilities", "labels", "ignored", "regions"])
def test_classes_that_nothing_names_are_counted(unnamed, tmp_path):
    """Over all label maps: a class may be missing in any case."""
    labels, preds = tmp_path / "labels", tmp_path / "m"
    for index, largest in enumerate((1, 3, 2)):
        label = np.zeros((4, 5, 6), np.uint8)
        label[:largest] = np.arange(1, largest + 1)[:, None, None]
        shown = np.where(label == 0, 255, label) if unnamed == "ignored" else label
        write_nifti(labels / f"c{index}.nii.gz", shown)
        planes = np.eye(4, dtype=np.float32)[label].transpose(3, 0, 1, 2)
        if unnamed == "regions":
            planes = np.stack([label > 0, label == 3]).astype(np.float32) * 0.9 + 0.05
        write_nifti(preds / f"c{index}.nii.gz", label if unnamed in ("labels", "ignored") else planes)
    asked: Any = {"ignored": {"ignore_label": 255}, "regions": {"regions": "WT=1,2,3;ET=3"}}.get(unnamed, {})
    (method,) = score_folder(preds, labels, metrics="DSC", **asked).methods
    assert method.errors == {}
    assert method.class_names == ("0", "1", "2", "3")
    dsc = {(row.case, row.class_name): row.value for row in method.rows}
    assert dsc["c1", "WT" if unnamed == "regions" else "3"] == 1


def test_labels_that_nothing_names_and_nothing_can_count_are_told(tmp_path, cli):
    label = np.zeros((4, 5, 6), np.int16)
    label[0] = 1001
    for folder in ("m", "labels"):
        write_nifti(tmp_path / folder / "a.nii.gz", label)
    outcome = cli("score", tmp_path / "m", tmp_path / "labels")
    assert outcome.code == 2
    assert "label 1001 (30 voxels) stands for no class. Known from the files: 0 to 253." in outcome.err
    assert "in a dataset.json if the values have gaps" in outcome.err


@pytest.mark.parametrize(
    ("labels", "expected"), [("gold", "gold"), ("Task04/labelsTr", "Task04"), ("gold/a.nii.gz", "gold")]
)
def test_a_data_set_without_a_name_is_called_like_its_folder(labels, expected, small, tmp_path):
    folder = tmp_path / labels.removesuffix("/a.nii.gz")
    shutil.copytree(small[1], folder)
    (folder / "dataset.json").unlink()
    preds = small[0] / "a.nii.gz" if labels.endswith(".gz") else small[0]
    assert plan_job(preds, tmp_path / labels).dataset == expected


def test_workers_follow_the_user_then_work_cores_and_memory(tmp_path, monkeypatch):
    small = tmp_path / "small.npz"
    small.touch()
    large = tmp_path / "large.npz"
    with large.open("wb") as file:
        file.truncate(1 << 30)  # sparse: takes no space
    few = [CasePaths(str(i), (small,)) for i in range(8)]
    many = [CasePaths(str(i), (large,)) for i in range(8)]
    monkeypatch.setattr(job_module, "available_cores", lambda: 4)
    monkeypatch.setattr(job_module, "available_memory", lambda: 64e9)
    assert choose_workers(few, 3) == 3
    assert choose_workers(few[:2], 3) == 2
    assert choose_workers([], None) == choose_workers([], 5) == 1
    assert choose_workers(few, None) == 1
    assert choose_workers(many, None) == 4
    assert choose_workers(many[:3], None) == 3
    monkeypatch.setattr(job_module, "available_memory", lambda: 700e6)
    assert choose_workers(many, None) == 2
    monkeypatch.setattr(job_module, "available_memory", lambda: 0.0)
    assert choose_workers(many, None) == 1


@pytest.mark.parametrize(
    ("out", "methods", "expected"),
    [
        (None, 2, "results/m.csv"),
        ("x", 1, "x/m.csv"),
        ("x.v2", 1, "x.v2/m.csv"),
        ("x.csv", 1, "x.csv"),
        ("x.CSV", 1, "x.CSV"),
        ("folder.csv", 2, "folder.csv/m.csv"),
    ],
)
def test_where_tables_go(out, methods, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("folder.csv").mkdir()
    assert table_path(None if out is None else Path(out), "m", methods) == Path(expected)


def test_one_file_for_several_methods_is_refused():
    with pytest.raises(UsageError, match=r"--out x\.csv is one file, but there are 2 methods"):
        table_path(Path("x.csv"), "m", 2)


def test_a_table_is_written_whole_or_not_at_all(small, tmp_path, monkeypatch):
    job = plan_job(*small)
    (score,) = run_job(job)
    path = tmp_path / "out" / "m.csv"
    write_method(path, score, job)
    before = path.read_bytes()

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(OSError, match="No space left"):
        write_method(path, score, job)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["m.bins.npz", "m.csv"]


@pytest.mark.parametrize(
    ("function", "file"), [("savez", r"\.m\.partial/\w+\.npz"), ("savez_compressed", r"m\.bins\.npz")]
)
def test_a_full_disk_is_a_message(function, file, small, cli, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")  # a write does not know its file

    monkeypatch.setattr(np, function, fail)
    outcome = cli("score", *small)
    assert outcome[:2] == (2, "")
    assert re.fullmatch(rf"calibeval: results/{file}: No space left on device\.\n", outcome.err)


def test_a_plan_reads_no_values(small, tmp_path):
    preds, labels = small
    for folder in small:
        for path in folder.glob("*.nii.gz"):
            path.write_bytes(b"nothing to read")
    job = plan_job(preds, labels)
    assert [case.case for case in job.pairings["m"].cases] == ["a", "b", "c"]
    shutil.rmtree(tmp_path / "preds")


def test_labels_beside_the_methods_are_no_method(small, tmp_path):
    preds, labels = small
    shutil.copytree(labels, preds.parent / "gold")
    job = plan_job(preds.parent, preds.parent / "gold")
    assert list(job.pairings) == ["m"]
    assert job.notes == ()


def test_an_unknown_protocol_is_a_usage_error(small):
    preds, labels = small
    with pytest.raises(UsageError, match=r"Unknown protocol 'papr'\. Known: paper"):
        plan_job(preds, labels, ScoreOptions(protocol="papr"))
