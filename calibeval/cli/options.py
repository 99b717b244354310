"""Options that commands share, each with one word and one meaning; and help that shows commands and options by part."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand, TyperGroup

from calibeval.errors import UsageError
from calibeval.machine import limit_memory
from calibeval.scoring.options import OPTIONS, Option, ScoreOptions
from calibeval.wording import parse_size

_WRITTEN = {"--out", "--plot", "--table"}
_KEYWORD = inspect.Parameter.KEYWORD_ONLY

Workers = Annotated[int | None, typer.Option(min=1, help="Processes; default by cores, memory and work.")]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="tcp://HOST:PORT", help="Work on the workers of this dask scheduler, not in processes here."),
]
Channels = Annotated[
    int | None, typer.Option(min=1, help="Files an image, where names do not tell (case_0000, case_0001).")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors; the exit code tells.")]


def takes_score_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that has `**choices` an option for each choice of `ScoreOptions`; and `limits_memory`."""
    return limits_memory(_with_options(command, [_parameter(keyword, option) for keyword, option in OPTIONS.items()]))


def limits_memory(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option `--max-memory`, which it need not look at."""

    @wraps(command)
    def limited(*args: Any, max_memory: str | None, **others: Any) -> None:
        with limit_memory(None if max_memory is None else parse_size(max_memory, "--max-memory")):
            command(*args, **others)

    text = "Most memory for an array or a case, as in 4G; default 90% of what is free."
    declared = typer.Option("--max-memory", metavar="SIZE", help=text)
    option = inspect.Parameter("max_memory", _KEYWORD, default=None, annotation=Annotated[str | None, declared])
    return _with_options(limited, [option])


def _with_options(command: Callable[..., None], options: list[inspect.Parameter]) -> Callable[..., None]:
    own = inspect.signature(command, eval_str=True).parameters.values()
    parameters = [*(each for each in own if each.kind is not inspect.Parameter.VAR_KEYWORD), *options]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # where Typer looks
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command


def _parameter(keyword: str, option: Option) -> inspect.Parameter:
    default = ScoreOptions.__dataclass_fields__[keyword].default
    plain = str if option.kind is list else option.kind  # a list is given as text
    kind: Any = Literal.__getitem__(option.choices) if option.choices else plain
    declared = typer.Option(f"--{option.name}", help=option.help, metavar=option.metavar, rich_help_panel=option.part)
    annotation: Any = Annotated[kind if default is not None else kind | None, declared]
    return inspect.Parameter(keyword, _KEYWORD, default=default, annotation=annotation)


class PartedGroup(TyperGroup):
    """A group whose help lists the commands by their part (`rich_help_panel`)."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one section a part."""
        commands: dict[str, Any] = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        width = formatter.width - 6 - max(map(len, commands))
        _write_parts(
            formatter,
            [(_part(each, "Commands"), name, each.get_short_help_str(width)) for name, each in commands.items()],
        )


class PartedCommand(TyperCommand):
    """A command whose help lists the options by their part, and whose files may be URLs."""

    def invoke(self, ctx: Any) -> Any:
        """Bring what URLs name to this machine, then run."""
        for parameter in self.params:
            value = ctx.params.get(parameter.name)
            if isinstance(value, Path):
                ctx.params[parameter.name] = _local(value, parameter)
            elif isinstance(value, list | tuple):
                ctx.params[parameter.name] = [_local(x, parameter) if isinstance(x, Path) else x for x in value]
        return super().invoke(ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write one section a part."""
        records = [(each, each.get_help_record(ctx)) for each in self.get_params(ctx)]
        arguments = [("Arguments", *text) for each, text in records if text and each.param_type_name == "argument"]
        options = [
            (_part(each, "Options"), *text) for each, text in records if text and each.param_type_name == "option"
        ]
        _write_parts(formatter, [*arguments, *options])


def _local(path: Path, parameter: Any) -> Path:
    if ":/" not in path.as_posix():  # most are none, and are not looked at
        return path
    from calibeval.io.remote import local_path, url_of

    if _WRITTEN & set(parameter.opts) and (url := url_of(path)):
        raise UsageError(f"{url}: results are written to this machine. Choose a path for {parameter.opts[-1]}.")
    return local_path(path)


def _part(item: Any, default: str) -> str:
    return getattr(item, "rich_help_panel", None) or default


def _write_parts(formatter: Any, rows: Iterable[tuple[str, str, str]]) -> None:
    parts: dict[str, list[tuple[str, str]]] = {}
    for part, name, text in rows:
        parts.setdefault(part, []).append((name, text))
    for part, listed in parts.items():
        with formatter.section(part):
            formatter.write_dl(listed)
