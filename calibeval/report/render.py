"""From the page as plain data to HTML: all is escaped, one file holds all, and nothing in it asks the network."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

from calibeval.errors import MissingExtraError
from calibeval.escape import page as shown
from calibeval.report.page import Page


def need_extra() -> None:
    """Say before the work what could not be written after it.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    for package in ("jinja2", "matplotlib"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "report")


def render(page: Page) -> str:
    """The page as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    def plain(value: Any) -> Any:
        return shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    folder = files("calibeval.report")
    style, script = (folder.joinpath(f"page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    environment = Environment(
        loader=PackageLoader("calibeval.report", ""), autoescape=True, finalize=plain, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["made"] = Markup  # of what `figures` and `casewise` made safe
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    template = environment.get_template("page.html.j2")
    return template.render(page=page, style=Markup(style), script=Markup(script), digest=digest)
