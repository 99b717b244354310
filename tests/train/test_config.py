"""Settings of a run: presets, their way through JSON, and refusals."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from calibeval.errors import InputError, UsageError
from calibeval.train.config import (
    PRESETS,
    TrainConfig,
    config_from_dict,
    config_to_dict,
    make_config,
    parse_settings,
    parse_size,
    parse_steps,
    read_config,
)


def test_presets_are_the_published_protocols():
    paper = make_config("sdc-paper", data="d", out="o")
    assert (paper.optimizer, paper.lr, paper.schedule, paper.step_epochs) == ("adam", 1e-3, "step", 50)
    assert (paper.epochs, paper.batch_size, paper.fold, paper.group_by) == (100, 16, "1/5", "patient")
    nacl = make_config("nacl-code", data="d", out="o")
    assert (nacl.batch_size, nacl.augment, nacl.backbone, nacl.size) == (4, "none", "unet-nacl", (192, 192))
    repo = make_config("sdc-repo", data="d", out="o")
    assert (repo.optimizer, repo.lr, repo.schedule, repo.batch_size, repo.epochs) == ("adamw", 1e-4, "cosine", 4, 200)


def test_chosen_settings_win_over_the_preset_and_none_does_not():
    config = make_config("sdc-repo", data="d", out="o", epochs=3, lr=None)
    assert (config.epochs, config.lr) == (3, 1e-4)


@pytest.mark.parametrize("preset", ["", *PRESETS])
def test_json_round_trip(preset, tmp_path):
    config = make_config(preset, data="d", out="o", settings={"alpha": 0.2, "morph": "closing"}, size=(64, 48))
    config = replace(config, keep_predictions=(10, 20))
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config_to_dict(config)))
    assert read_config(path) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "--epochs must be at least 1"),
        ({"batch_size": 0}, "--batch-size must be at least 1"),
        ({"workers": -1}, "--workers must be at least 0"),
        ({"lr": 0.0}, "--lr must be above 0"),
        ({"lr": float("nan")}, "--lr must be above 0"),
        ({"lr": float("inf")}, "--lr must be above 0 and finite, not inf"),
        ({"seed": -1}, "--seed must be at least 0, not -1"),
        ({"seed": 10**23}, "--seed must be at most 9223372036854775807"),
        ({"batch_size": 10**12}, "--batch-size must be at most 1000000"),
        ({"size": (10**9, 64)}, "--size must be at most 16384 pixels"),
        ({"weight_decay": -1.0}, "weight decay must be at least 0"),
        ({"augment": "heavy"}, "Unknown augment 'heavy'. Known: none, basic, nnunet"),
        ({"dim": 4}, "--dim must be at most 3, not 4"),
        ({"dim": 3, "size": (64, 64)}, "--size 64x64 has 2 sides, --dim 3"),
        ({"optimizer": "sgd"}, "Unknown optimizer 'sgd'. Known: adam, adamw"),
    ],
)
def test_values_without_sense(settings, message):
    with pytest.raises(UsageError, match=message):
        TrainConfig(data="d", out="o", **settings)


def test_patches_come_in_smaller_batches():
    assert [make_config("", data="d", out="o", dim=dim).batch_size for dim in (2, 3)] == [16, 2]
    assert make_config("sdc-paper", data="d", out="o", dim=3).batch_size == 16


def test_unknown_preset():
    with pytest.raises(UsageError, match="Known: sdc-paper, nacl-code, sdc-repo"):
        make_config("paper", data="d", out="o")


def test_foreign_configuration(tmp_path):
    with pytest.raises(InputError, match="fields"):
        config_from_dict({"epochs": 3}, Path("config.json"))
    path = tmp_path / "config.json"
    with pytest.raises(InputError, match="no such file"):
        read_config(path)
    path.write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        read_config(path)
    path.write_text("[]")
    with pytest.raises(InputError, match="expected a JSON object"):
        read_config(path)


def test_a_configuration_of_an_earlier_version_takes_defaults_for_what_is_new():
    values = config_to_dict(make_config("", data="d", out="o", epochs=7, seed=3))
    for name in ("seed", "amp"):
        del values[name]
    found = config_from_dict(values, Path("config.json"))
    assert (found.epochs, found.seed, found.amp) == (7, 0, False)
    for old, new in ((True, "basic"), (False, "none")):
        assert config_from_dict({**values, "augment": old}, Path("config.json")).augment == new
    for name, said in (("colour", "colour"), ("", "''")):
        with pytest.raises(InputError, match=f"fields {said} are missing or unknown"):
            config_from_dict({**values, name: 1}, Path("config.json"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", "5"),
        ("amp", "false"),
        ("keep_predictions", ["1"]),
        ("size", None),
        ("size", [1]),
        ("size", [1, "2"]),
        ("lr", True),
        ("data", 1),
    ],
)
def test_a_field_of_another_kind_is_named(name, value):
    values = config_to_dict(make_config("", data="d", out="o"))
    with pytest.raises(InputError, match=f"its field {name} is .*, expected {type(values[name]).__name__}"):
        config_from_dict({**values, name: value}, Path("config.json"))


def test_a_whole_number_is_a_number():
    assert config_from_dict({"data": "d", "out": "o", "size": [1, 2], "lr": 1}, Path("config.json")).lr == 1


def test_settings_on_the_command_line():
    found = parse_settings(["alpha=0.2", "average_classes=true", "kernel=min", "margin=5", "lam=1e-2"])
    assert found == {"alpha": 0.2, "average_classes": True, "kernel": "min", "margin": 5, "lam": 0.01}
    with pytest.raises(UsageError, match="KEY=VALUE"):
        parse_settings(["alpha"])


def test_steps_on_the_command_line():
    assert parse_steps("400, 100") == (100, 400)
    for text in ("", "a", "0", "1,,2", "-4", "1.5"):
        with pytest.raises(UsageError, match="--keep-predictions"):
            parse_steps(text)


def test_a_loss_as_the_name_of_a_folder():
    assert make_config("", data="d", out="o", loss="dicece + 0.5*sdc:logit").method == "dicece+0.5xsdc-logit"


def test_sizes_on_the_command_line():
    assert parse_size("192") == (192, 192)
    assert parse_size("192x160") == (192, 160)
    assert (parse_size("64", 3), parse_size("16x96x80", 3)) == ((64, 64, 64), (16, 96, 80))
    with pytest.raises(UsageError, match="--size expects N or DxHxW in voxels"):
        parse_size("96x80", 3)
    for text in ("", "big", "0", "1x2x3", "-4"):
        with pytest.raises(UsageError, match="--size"):
            parse_size(text)
