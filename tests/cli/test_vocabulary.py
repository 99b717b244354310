"""One word for one thing, on all commands together: a new command or option meets these without being named here."""

from collections import defaultdict

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from calibeval.cli import app
from calibeval.scoring.options import OPTIONS, ScoreOptions

group = get_command(app)
assert isinstance(group, TyperGroup)
COMMANDS = {
    " ".join(filter(None, (name, below))): command
    for name, declared in group.commands.items()
    for below, command in getattr(declared, "commands", {"": declared}).items()
}
READ_ONLY = {"explain", "nnunet"}  # print; every other command writes
PARTS = ["Score and compare", "Train and study", "Tools"]

# How an option that has this word must be written, in whatever command it stands.
WORDS = {
    "--cases": {"metavar": "FILE"},
    "--fold": {"metavar": "i/n"},
    "--shard": {"metavar": "i/n"},
    "--scheduler": {"metavar": "tcp://HOST:PORT"},
}
# One word that two commands take differently: train goes on with a folder and counts slices as HxW, prepare volumes as
# XxYxZ; each command has its own formats.
OWN_FORM = {"--resume", "--format", "--protocol", "-o", "--out", "--missing", "--size"}


def options():
    """(command, option, parameter) of all."""
    for command, declared in COMMANDS.items():
        for parameter in declared.params:
            if parameter.param_type_name == "option":
                for word in parameter.opts:
                    yield command, word, parameter


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - READ_ONLY))
def test_every_command_that_writes_takes_o(command):
    assert any({"-o", "--out"} == set(parameter.opts) for parameter in COMMANDS[command].params)


def test_words_are_written_alike():
    for command, word, parameter in options():
        for attribute, expected in WORDS.get(word, {}).items():
            assert getattr(parameter, attribute) == expected, (command, word)


def test_an_option_of_two_commands_is_of_one_kind():
    kinds = defaultdict(set)
    for _, word, parameter in options():
        if word not in OWN_FORM:
            kinds[word].add((parameter.metavar, parameter.is_flag, parameter.multiple))
    assert {word: found for word, found in kinds.items() if len(found) > 1} == {}


@pytest.mark.parametrize("command", ["score", "rank"])
def test_what_is_missing_is_named_alike_and_skip_still_is_drop(command):
    from calibeval.ranking import RankSettings

    settings = {"score": ScoreOptions, "rank": RankSettings}[command]
    assert [settings(missing=word).missing for word in ("error", "worst", "drop", "skip")] == [
        "error", "worst", "drop", "drop",
    ]  # fmt: skip
    assert "error|worst|drop" in COMMANDS[command].get_help(COMMANDS[command].make_context("x", ["y"]))


def test_every_command_stands_in_a_part_of_the_help(cli):
    text = cli("--help").out
    places = [text.index(f"{part}:") for part in PARTS]
    assert places == sorted(places)
    for command, declared in vars(group)["commands"].items():
        assert vars(declared)["rich_help_panel"] in PARTS
        assert f"\n  {command} " in text


def test_the_command_line_has_every_choice_of_scoring_in_its_part(cli):
    text = cli("score", "--help").out
    for option in OPTIONS.values():
        assert f"--{option.name} " in text.partition(f"{option.part}:")[2]
    known = {word for command, word, _ in options() if command == "score"}
    assert known - {f"--{option.name}" for option in OPTIONS.values()} == {
        "-o", "--out", "--workers", "--scheduler", "--shard", "--resume", "--dry-run", "--format", "--json", "--quiet",
        "--by", "--max-memory",
    }  # fmt: skip
