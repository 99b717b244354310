import pytest
from typer.testing import CliRunner

pytest.importorskip("torch")

from calibeval.cli import app
from calibeval.errors import InputError, UsageError
from calibeval.study.estimate import estimate
from calibeval.study.execute import run_study
from calibeval.study.plan import SAMPLE
from tests.study.helpers import STUDY, make_done, make_study


@pytest.fixture
def asked(monkeypatch):
    """Runs that were to be trained; those of seed 1 fail."""
    names = []

    def train(config):
        names.append((config.loss, config.fold, config.seed))
        if config.seed:
            raise InputError("image.nii.gz", "is broken.")

    monkeypatch.setattr("calibeval.train.run.run_whole", train)
    return names


def test_done_runs_are_skipped_and_failed_ones_cost_no_other(tmp_path, asked):
    study = make_study(tmp_path, data={"heart": str(tmp_path)})
    make_done(study.runs[0], {"a": {"DSC": 1.0}})
    outcomes = run_study(study, 1, lambda _: None)
    assert asked == [(run.config.loss, run.config.fold, run.config.seed) for run in study.runs[1:]]
    assert [outcome.error for outcome in outcomes[:2]] == ["image.nii.gz: is broken.", ""]
    assert study.runs[1].state == "failed"
    assert (study.runs[1].folder / "failed.txt").read_text(encoding="utf-8") == "image.nii.gz: is broken.\n"


def test_failed_runs_are_tried_again(tmp_path, asked):
    study = make_study(tmp_path, data={"heart": str(tmp_path)})
    run_study(study, 1, lambda _: None)
    asked.clear()
    run_study(study, 1, lambda _: None)
    assert len(asked) == 8


def test_data_that_are_not_there_are_named_before_any_work(tmp_path, asked):
    with pytest.raises(UsageError, match=r"heart: no such folder.*--data heart=FOLDER"):
        run_study(make_study(tmp_path, data={"heart": str(tmp_path / "heart")}), 1, lambda _: None)
    assert not asked


def test_an_unknown_loss_is_named_before_any_work(tmp_path, asked):
    study = make_study(tmp_path, STUDY.replace('"dicece"', '"dicecee"'), data={"heart": str(tmp_path)})
    with pytest.raises(UsageError, match="Unknown loss 'dicecee'"):
        run_study(study, 1, lambda _: None)
    assert not asked


def test_sample_data_are_made_where_there_are_none(tmp_path, asked, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_study(make_study(tmp_path, STUDY.replace('"heart"', f'"{SAMPLE}"')), 1, lambda _: None)
    assert (tmp_path / "out" / SAMPLE / "dataset.json").is_file()
    assert len(asked) == 8


def test_the_command_says_what_failed(tmp_path, asked):
    make_study(tmp_path)
    arguments = ["study", str(tmp_path / "mine.toml"), "--out", str(tmp_path / "out"), "--data", f"heart={tmp_path}"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Name a STUDY.toml or a --preset"),
        (["a.toml", "--preset", "quick"], "one of the two"),
        (["--preset", "quik"], "Known: paper-lambda"),
        (["none.toml"], "no such file"),
        (["none.toml", "--data", "ACDC"], "NAME=FOLDER"),
    ],
)
def test_mistakes_on_the_command_line(arguments, message):
    with pytest.raises(UsageError, match=message):
        CliRunner().invoke(app, ["study", *arguments], catch_exceptions=False)


def test_an_estimate_writes_nothing(tmp_path, monkeypatch):
    """Two folds of 12 cases: of each 4 train, 32 slices, 2 batches of 16."""
    monkeypatch.chdir(tmp_path)
    text = STUDY.replace('"heart"', f'"{SAMPLE}"').replace("epochs = 2", "epochs = 2\nwidth = 2\nsize = 32")
    study = make_study(tmp_path, text)
    line, total = estimate(study, 2)
    assert line.startswith("heart unet: 8 runs of 2 steps an epoch, ")
    assert "with 2 workers" in total
    assert not study.out.exists()
