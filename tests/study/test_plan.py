import pytest

from calibeval.errors import UsageError
from calibeval.study.plan import PRESETS, preset_names, read_study
from tests.study.helpers import STUDY, make_done, make_study


def test_a_grid_is_the_product_of_its_lists(tmp_path):
    study = make_study(tmp_path)
    assert len(study.runs) == 1 * 1 * 2 * 2 * 2
    first = study.runs[0]
    assert first.name == "heart unet dicece fold 1/3 seed 0"
    assert (first.config.loss, first.config.epochs, first.config.fold) == ("dicece", 2, "1/3")
    assert first.folder == tmp_path / "out" / "runs" / "heart" / "unet" / "dicece" / "f1of3-s0"


def test_a_list_makes_a_method_of_each_value_and_none_is_no_setting(tmp_path):
    grid = '[data]\nd = "d"\n[grid]\nmethods = [{ name = "N", loss = "nacl:min", morph = ["none", "closing"] }]'
    (study,) = make_study(tmp_path, grid).grids
    assert [(method.name, dict(method.settings)) for method in study.methods] == [
        ("N", {}),
        ("N closing", {"morph": "closing"}),
    ]
    assert len(study.runs) == 2 * 5


def test_runs_of_several_grids_are_made_once(tmp_path):
    twice = STUDY + STUDY[STUDY.index("[[grid]]") :].replace("losses", "again")
    assert make_study(tmp_path, twice).runs == make_study(tmp_path).runs


def test_a_data_set_elsewhere_keeps_its_settings(tmp_path):
    text = STUDY.replace('heart = "heart"', 'heart = { folder = "heart", size = "32x48" }')
    config = make_study(tmp_path, text, data={"heart": "/there"}).runs[0].config
    assert (config.data, config.size) == ("/there", (32, 48))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs = 2", "epoch = 2", "has no epoch"),
        ("epochs = 2", "epochs = 0", "--epochs must be at least 1"),
        ('table = "losses"', 'data = ["lung"]', "has no 'lung'"),
        ("seeds", "sees", "has no sees"),
        ('name = "SDC"', 'name = "dicece"', "two methods are called 'dicece'"),
        ('loss = "sdc"', 'lam = 1', "a method is a loss"),
        ("[[grid]]", "[[grids]]", "has no grids"),
        ('["1/3", "2/3"]', '"1/3"', r"folds is a list in brackets, as in folds = \['1/3'\]"),
        ("[0, 1]", "2", "seeds is a list"),
        ("epochs = 2", 'epochs = "2"', "of a kind that was not expected"),
        ('heart = "heart"', "heart = 3", "of a kind that was not expected"),
        ("epochs = 2", "epochs = ", "cannot be read as TOML"),
    ],
)  # fmt: skip
def test_mistakes_are_named(tmp_path, old, new, message):
    with pytest.raises(UsageError, match=message):
        make_study(tmp_path, STUDY.replace(old, new))


def test_runs_of_other_settings_are_not_taken_for_these(tmp_path):
    make_done(make_study(tmp_path).runs[0], {"a": {"DSC": 0.5}})
    make_study(tmp_path)
    with pytest.raises(UsageError, match=r"other settings \(epochs 2, now 3\)"):
        make_study(tmp_path, STUDY.replace("epochs = 2", "epochs = 3"))


def test_the_state_is_what_lies_in_the_folder(tmp_path):
    run = make_study(tmp_path).runs[0]
    states = [run.state]
    run.folder.mkdir(parents=True)
    for name in ("last.pt", "failed.txt", "score.csv"):
        (run.folder / name).touch()
        states.append(run.state)
    assert states == ["new", "begun", "failed", "done"]


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_can_be_planned(tmp_path, name):
    study = read_study(PRESETS / f"{name}.toml", {}, tmp_path)
    assert study.runs
    assert study.about.endswith(".")
