"""The loop: it learns, resumes to the bit, stops when asked, and loses nothing when something breaks."""

import csv
import json
import resource
from dataclasses import replace

import numpy as np
import pytest
import torch

from calibeval.errors import CalibevalError, InputError, UsageError
from calibeval.train import fit as loop
from calibeval.train.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from calibeval.train.config import make_config, read_config
from calibeval.train.fit import Watcher, fit, learning_rate
from calibeval.train.models import Network
from calibeval.train.plan import make_plan
from calibeval.train.run import describe_plan, resume_run, start_run
from calibeval.train.session import open_session
from calibeval.train.team import join_team
from calibeval.train.validation import CURVES
from tests.train.data_sets import NAMES, write_nifti, write_nnunet, write_npz_slices

SMALL = {"width": 4, "epochs": 4, "batch_size": 4, "fold": "1/6", "lr": 5e-3}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_nnunet(tmp_path_factory.mktemp("data"), NAMES)


def small(data, out, **settings):
    return make_config("", data=str(data), out=str(out), **{**SMALL, **settings})


def run(config, watcher=None, resume=None):
    return fit(config, make_plan(config), watcher or Watcher(), resume)


def metrics(out):
    """Rows of metrics.csv without times; -1 where a value is undefined, so that rows can be compared."""
    with (out / "metrics.csv").open() as file:
        return [{k: float(v or -1) for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def stop_after(steps):
    """A watcher that asks to stop after so many batches."""
    done = []
    return Watcher(step=lambda *_: done.append(1), stop=lambda: len(done) >= steps)


def test_it_learns_and_leaves_its_records(data, tmp_path):
    config = small(data, tmp_path / "run", epochs=12, lr=2e-2)
    plan = make_plan(config)
    assert (plan.size, plan.network) == ((16, 16), Network("unet", 4, 1, 3))
    rows = []
    fitted = fit(config, plan, Watcher(epoch=rows.append))
    out = tmp_path / "run"
    history = metrics(out)
    assert [row["epoch"] for row in history] == list(range(1, 13)) == [row["epoch"] for row in rows]
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert fitted.finished and fitted.best_dsc == max(row["val_DSC"] for row in history) > 0.8
    assert {f"val_{name}" for name in CURVES} < set(history[0])
    for row in history:
        terms = row["loss_ce"] + row["loss_neighbours"] + row["loss_sdf"]
        assert terms == pytest.approx(row["loss"])
    assert read_config(out / "config.json") == config
    assert json.loads((out / "splits.json").read_text()) == {k: list(v) for k, v in plan.split._asdict().items()}
    assert len(json.loads((out / "data.json").read_text())["labelsTr/case_000.nii.gz"]) == 64
    assert json.loads((out / "environment.json").read_text())["torch"] == torch.__version__
    assert (out / "curves.png").stat().st_size > 1000 and fitted.curves
    best, last = read_checkpoint(out / "best.pt"), read_checkpoint(out / "last.pt")
    assert not best.resume and last.resume["progress"]["best_epoch"] == fitted.best_epoch - 1
    assert best.classes == ("background", "ring", "disc")


def test_equal_seeds_give_equal_runs_and_others_do_not(data, tmp_path):
    weights = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(small(data, tmp_path / name, epochs=1, seed=seed))
        weights.append(read_checkpoint(tmp_path / name / "last.pt").weights)
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)
    assert not torch.equal(weights[0]["head.weight"], weights[2]["head.weight"])


@pytest.mark.parametrize("steps", [2, 3, 7])
def test_resume_is_exact_to_the_bit(data, tmp_path, steps):
    """Stopped within an epoch, at its end, and later; 12 slices in batches of 4 make 3 steps an epoch."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(small(data, whole))
    stopped = run(small(data, parts), stop_after(steps))
    assert not stopped.finished
    config, plan, checkpoint = resume_run(parts, {})
    assert fit(config, plan, Watcher(), checkpoint).finished
    assert metrics(parts) == metrics(whole)
    for name in ("last.pt", "best.pt"):
        one, two = read_checkpoint(parts / name), read_checkpoint(whole / name)
        torch.testing.assert_close(one.weights, two.weights, rtol=0, atol=0)
    torch.testing.assert_close(one.resume, two.resume)


def test_one_batch_an_epoch_can_be_stopped(data, tmp_path):
    """No step lies within such an epoch; a stop that was asked for waits for its end, not for that of the run."""
    stopped = run(small(data, tmp_path / "run", batch_size=12, epochs=50), stop_after(2))
    assert not stopped.finished and len(metrics(tmp_path / "run")) == 2
    config, plan, checkpoint = resume_run(tmp_path / "run", {"epochs": 3})
    assert fit(config, plan, Watcher(), checkpoint).finished and len(metrics(tmp_path / "run")) == 3


def test_an_epochs_last_accumulated_step_weighs_its_own_batches(data, tmp_path):
    """Three batches by twos: the second step has one batch, and that batch's whole gradient."""
    steps = {}
    for name, settings in (("twos", {"accumulate": 2}), ("threes", {"accumulate": 3}), ("ones", {})):
        steps[name] = []
        plan = make_plan(small(data, tmp_path / name, epochs=1, **settings))
        with join_team("cpu") as team:
            session = open_session(small(data, tmp_path / name, epochs=1, **settings), plan, team, None, tmp_path)
        for session.progress.step in range(3):
            steps[name].append(loop._group_size(session))
    assert steps == {"twos": [2, 2, 1], "threes": [3, 3, 3], "ones": [1, 1, 1]}


def test_workers_and_accumulation(data, tmp_path):
    run(small(data, tmp_path / "alone", epochs=1))
    run(small(data, tmp_path / "helped", epochs=1, workers=1))
    assert metrics(tmp_path / "alone") == metrics(tmp_path / "helped")
    halves = run(small(data, tmp_path / "halves", epochs=1, batch_size=2, accumulate=2))
    assert halves.finished and metrics(tmp_path / "halves") != metrics(tmp_path / "alone")


def test_accumulated_gradients_are_those_of_the_whole_batch(data, tmp_path):
    """Without batch normalisation, four slices at once or two and two are the same step."""
    for name, settings in (("whole", {"batch_size": 4}), ("parts", {"batch_size": 2, "accumulate": 2})):
        config = small(data, tmp_path / name, backbone="unet-nacl", epochs=1, augment="none", size=(32, 32), **settings)
        run(replace(config, loss="mbls"))
    one, two = (read_checkpoint(tmp_path / name / "last.pt").weights for name in ("whole", "parts"))
    torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "settings", [{"amp": True}, {"deterministic": True}, {"optimizer": "adamw", "weight_decay": 0.1}]
)
def test_other_ways_to_train(data, tmp_path, settings):
    assert run(small(data, tmp_path / "run", epochs=1, **settings)).finished
    torch.use_deterministic_algorithms(False)


def test_npz_slices_and_ignored_voxels(tmp_path):
    npz = write_npz_slices(tmp_path / "npz", [f"p{n}_frame{f}" for n in range(3) for f in (1, 2)])
    config = small(npz, tmp_path / "a", fold="1/3", epochs=1)
    assert run(config).finished
    ignoring = write_nnunet(tmp_path / "ignoring", NAMES, labels={"background": 0, "ring": 1, "ignore": 2})
    assert run(small(ignoring, tmp_path / "b", epochs=1)).finished


def test_overfitting_one_batch(data, tmp_path):
    config = small(data, tmp_path / "run", overfit_batch=True, epochs=60, loss="dicece", width=8)
    assert run(config).best_dsc > 0.99


def test_predictions_are_kept_at_steps_and_change_nothing(data, tmp_path):
    """12 slices in batches of 4: step 2 lies within an epoch, step 3 at its end, step 9 in the last one."""
    plain, keeping = small(data, tmp_path / "a", epochs=3), small(data, tmp_path / "b", epochs=3, loss="dicece+0.5*fl")
    keeping = replace(keeping, keep_predictions=(2, 3, 9, 99))
    run(keeping)
    names = [f"{name}.nii.gz" for name in make_plan(plain).split.val]
    for step in (2, 3, 9):
        folder = tmp_path / "b" / "kept" / f"step{step}" / "dicece+0.5xfl"
        assert sorted(path.name for path in folder.iterdir()) == names
    assert not (tmp_path / "b" / "kept" / "step99").exists()
    run(replace(plain, loss="dicece+0.5*fl"))
    one, two = (read_checkpoint(tmp_path / name / "last.pt").weights for name in "ab")
    torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_early_stop(data, tmp_path, monkeypatch):
    values = iter([0.5, 0.4, 0.6, 0.6, 0.6, 0.9])
    monkeypatch.setattr(loop, "_validate", lambda _: {"val_DSC": next(values)})
    fitted = run(small(data, tmp_path / "run", epochs=9, early_stop=2))
    assert fitted == loop.Fitted(best_epoch=3, best_dsc=0.6, finished=True, curves=True)
    assert len(metrics(tmp_path / "run")) == 5


def test_learning_rates():
    config = make_config("sdc-paper", data="d", out="o")
    assert [learning_rate(config, epoch) for epoch in (0, 49, 50, 99)] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4])
    cosine = replace(config, schedule="cosine")
    assert [learning_rate(cosine, epoch) for epoch in (0, 50)] == pytest.approx([1e-3, 5e-4])
    assert learning_rate(replace(config, schedule="constant"), 99) == 1e-3


class TestWhenSomethingBreaks:
    def test_loss_that_is_not_finite(self, data, tmp_path):
        run(small(data, tmp_path / "run", epochs=2))
        config, plan, checkpoint = resume_run(tmp_path / "run", {"epochs": 4})
        before = (tmp_path / "run" / "last.pt").read_bytes()
        plan.train[0].image[...] = np.nan
        with pytest.raises(CalibevalError, match=r"The loss became ce=nan.* of epoch 3\. .*last\.pt holds epoch 2"):
            fit(config, plan, Watcher(), checkpoint)
        assert (tmp_path / "run" / "last.pt").read_bytes() == before

    def test_weights_that_the_last_step_of_an_epoch_broke(self, data, tmp_path, monkeypatch):
        run(small(data, tmp_path / "run", epochs=1))
        config, plan, checkpoint = resume_run(tmp_path / "run", {"epochs": 2})
        before = (tmp_path / "run" / "last.pt").read_bytes()

        def break_weights(session, *_):
            with torch.no_grad():
                session.network.head.weight[0] = torch.inf
            return True

        monkeypatch.setattr(loop, "_train_epoch", break_weights)
        with pytest.raises(CalibevalError, match=r"weights are no longer finite at the end of epoch 2.*holds epoch 1"):
            fit(config, plan, Watcher(), checkpoint)
        assert (tmp_path / "run" / "last.pt").read_bytes() == before

    def test_labels_outside_the_classes(self, tmp_path):
        folder = write_nnunet(tmp_path / "data", NAMES)
        write_nifti(folder / "labelsTr" / "case_003.nii.gz", np.full((3, 16, 16), 7, np.uint8))
        with pytest.raises(InputError, match=r"label 7 .* stands for no class"):
            for fold in range(1, 7):
                make_plan(small(folder, tmp_path / "run", fold=f"{fold}/6"))

    def test_channel_counts_that_differ(self, tmp_path):
        folder = write_nnunet(tmp_path / "data", NAMES)
        image = folder / "imagesTr" / "case_002_0000.nii.gz"
        (folder / "imagesTr" / "case_002_0001.nii.gz").write_bytes(image.read_bytes())
        for fold in range(1, 7):  # even where the case is held out: not after the training
            with pytest.raises(InputError, match="'case_002' has 2"):
                make_plan(small(folder, tmp_path / "run", fold=f"{fold}/6"))

    def test_empty_fold(self, data, tmp_path):
        with pytest.raises(UsageError, match="--fold 1/7 leaves a fold empty: 6 cases of 6 patients for 7 folds"):
            make_plan(small(data, tmp_path / "run", fold="1/7"))
        npz = write_npz_slices(tmp_path / "npz" / "train", ["a"]).parent
        with pytest.raises(UsageError, match="nothing could choose the best epoch"):
            make_plan(small(npz, tmp_path / "run", fold=""))

    def test_images_larger_than_memory(self, data, tmp_path, monkeypatch):
        monkeypatch.setattr("calibeval.train.volumes.available_memory", lambda: 1000.0)
        with pytest.raises(UsageError, match=r"take 0\.0 GiB in memory, where 0\.0 GiB are free"):
            make_plan(small(data, tmp_path / "run"))

    def test_size_that_does_not_fit_the_network(self, data, tmp_path):
        with pytest.raises(UsageError, match="--size 20x16: unet needs multiples of 8"):
            make_plan(small(data, tmp_path / "run", size=(20, 16)))

    def test_full_disk(self, data, tmp_path):
        """A limit on file sizes makes the real write fail; the checkpoint of the epoch before stays whole."""
        out = tmp_path / "run"
        run(small(data, out, epochs=1))
        config, _, checkpoint = resume_run(out, {})
        before = (out / "last.pt").read_bytes()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
        try:
            with pytest.raises(CalibevalError, match=r"\.pt: cannot be written: File too large. The file .* untouched"):
                run(replace(config, epochs=2), resume=checkpoint)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert (out / "last.pt").read_bytes() == before
        assert sorted(path.name for path in out.glob(".*")) == []
        assert run(replace(config, epochs=2), resume=checkpoint).finished

    def test_checkpoint_of_another_model(self, data, tmp_path):
        out = tmp_path / "run"
        run(small(data, out, epochs=1))
        config, _, checkpoint = resume_run(out, {})
        with pytest.raises(InputError, match=r"it is of Network.*width=4.*but the data and settings ask for.*width=8"):
            run(replace(config, width=8), resume=checkpoint)
        wrong = checkpoint._replace(weights={"head.weight": torch.zeros(1)})
        with pytest.raises(InputError, match="its weights are of another network"):
            run(config, resume=wrong)

    def test_run_folder_that_is_taken(self, data, tmp_path):
        out = tmp_path / "run"
        run(small(data, out, epochs=1))
        with pytest.raises(UsageError, match=r"already holds a run. Go on with it: calibeval train --resume"):
            start_run(small(data, out))

    def test_data_that_changed_since(self, tmp_path):
        folder, out = write_nnunet(tmp_path / "data", NAMES), tmp_path / "run"
        run(small(folder, out, epochs=1))
        write_nnunet(folder, [*NAMES, "case_new"])
        with pytest.raises(UsageError, match=r"has changed since the run .* began \(case_new\)"):
            resume_run(out, {})
        (out / "splits.json").write_text("[]")
        with pytest.raises(InputError, match="cannot be read as the split"):
            resume_run(out, {})

    def test_a_run_keeps_its_split_whatever_the_rule_on_names(self, tmp_path):
        """Version 0.1 took these for six patients; the rule of today would ask."""
        names = [f"s{patient}_{visit}" for patient in range(3) for visit in (1, 2)]
        folder, out = write_nnunet(tmp_path / "data", names), tmp_path / "run"
        run(small(folder, out, epochs=1, group_by="none"))
        config = json.loads((out / "config.json").read_text())
        for new in ("cases", "channels", "keep_predictions"):
            del config[new]
        (out / "config.json").write_text(json.dumps({**config, "group_by": "patient", "augment": True}))
        before = json.loads((out / "splits.json").read_text())
        config, plan, _ = resume_run(out, {"epochs": 2})
        assert {part: list(cases) for part, cases in plan.split._asdict().items()} == before
        assert "groups    as the run began\n" in describe_plan(config, plan)

    def test_a_file_that_changed_under_the_same_name(self, tmp_path):
        folder, out = write_nnunet(tmp_path / "data", NAMES), tmp_path / "run"
        run(small(folder, out, epochs=1))
        resume_run(out, {})
        for part, file in (("labelsTr", "case_003.nii.gz"), (".", "dataset.json")):
            path = folder / part / file
            before = path.read_bytes()
            path.write_bytes((folder / part / file.replace("3.", "2.")).read_bytes() + b"\n" * (part == "."))
            with pytest.raises(UsageError, match=rf"has changed since the run .* began: \S*{file} in .* \(1 file\)"):
                resume_run(out, {})
            path.write_bytes(before)
        (out / "data.json").write_text("[")
        with pytest.raises(InputError, match="cannot be read as the record"):
            resume_run(out, {})

    def test_a_resumed_run_that_is_stopped_goes_on_to_the_epochs_that_it_was_told(self, data, tmp_path):
        out = tmp_path / "run"
        run(small(data, out, epochs=1))
        config, plan, checkpoint = resume_run(out, {"epochs": 3})
        assert not fit(config, plan, stop_after(2), checkpoint).finished
        config, plan, checkpoint = resume_run(out, {})
        assert config.epochs == 3
        assert fit(config, plan, Watcher(), checkpoint).finished and len(metrics(out)) == 3

    def test_a_run_of_a_version_that_measured_less_goes_on(self, data, tmp_path):
        out = tmp_path / "run"
        run(small(data, out, epochs=1))
        config, plan, checkpoint = resume_run(out, {"epochs": 2})
        for name in CURVES[1:]:
            del checkpoint.resume["progress"]["history"][0][f"val_{name}"]
        fit(config, plan, Watcher(), checkpoint)
        first, second = metrics(out)
        assert list(first) == list(second) and first["val_ECE"] == -1 and 0 < second["val_ECE"] < 1

    def test_a_kill_between_two_writes_loses_no_row_of_metrics(self, data, tmp_path, monkeypatch):
        """Whether it comes before the last checkpoint or (as version 0.1 wrote) after it."""
        whole, out = tmp_path / "whole", tmp_path / "run"
        run(small(data, whole, epochs=2))

        def kill(session):
            raise KeyboardInterrupt if session.progress.epoch == 2 else AssertionError

        run(small(data, out, epochs=1))
        config, plan, checkpoint = resume_run(out, {"epochs": 2})
        monkeypatch.setattr(loop, "save_last", kill)
        with pytest.raises(KeyboardInterrupt):
            fit(config, plan, Watcher(), checkpoint)
        monkeypatch.undo()
        assert len(metrics(out)) == 2
        for _ in range(2):
            config, plan, checkpoint = resume_run(out, {})
            assert fit(config, plan, Watcher(), checkpoint).finished
            assert [row["epoch"] for row in metrics(out)] == [1, 2]
            (out / "metrics.csv").write_text("\n".join((out / "metrics.csv").read_text().splitlines()[:2]) + "\n")

    def test_a_run_that_broke_before_its_first_epoch_holds_no_folder(self, data, tmp_path):
        config = small(data, tmp_path / "run")
        plan = make_plan(config)
        plan.train[0].image[...] = np.inf
        with pytest.raises(CalibevalError, match="No epoch was finished"):
            fit(config, plan, Watcher())
        start_run(config)

    def test_unknown_device(self, data, tmp_path):
        for device, message in (("gpu", "--device gpu"), ("meta", "only cpu and cuda"), ("cuda", "no GPU here")):
            if device == "cuda" and torch.cuda.is_available():
                continue
            with pytest.raises(UsageError, match=message):
                run(small(data, tmp_path / "run", device=device))


class TestCheckpoints:
    def test_round_trip(self, data, tmp_path):
        config = small(data, tmp_path)
        written = Checkpoint(Network("unet", 4, 1, 2), {"w": torch.arange(3.0)}, ("a", "b"), config, {}, (8, 8))
        write_checkpoint(tmp_path / "x.pt", written)
        found = read_checkpoint(tmp_path / "x.pt")
        torch.testing.assert_close(found.weights, written.weights)
        assert found._replace(weights={}) == written._replace(weights={})

    @pytest.mark.parametrize("content", [b"", b"not a checkpoint", "state_dict", "pickle"])
    def test_foreign_files(self, tmp_path, content):
        path = tmp_path / "x.pt"
        if content == "state_dict":
            torch.save(torch.nn.Linear(2, 2).state_dict(), path)
        elif content == "pickle":
            torch.save({"format": 1, "network": Path_that_runs_code()}, path)
        else:
            path.write_bytes(content)
        with pytest.raises(InputError, match=r"x\.pt: not a checkpoint of calibeval"):
            read_checkpoint(path)

    def test_incomplete(self, tmp_path):
        torch.save({"format": 1, "network": {"backbone": "unet"}}, tmp_path / "x.pt")
        with pytest.raises(InputError, match="not a whole checkpoint of calibeval"):
            read_checkpoint(tmp_path / "x.pt")

    def test_missing(self, tmp_path):
        with pytest.raises(InputError, match="no such checkpoint"):
            read_checkpoint(tmp_path / "none.pt")


class Path_that_runs_code:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code in a checkpoint was run')",))
