"""The page in a browser: its script sorts and searches, and nothing is asked of the network. Needs chromium."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess

import pytest

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from calibeval.report import build
from tests.report.helpers import HOSTILE, parse, write_method

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no chromium here")]
RIGHTS = [0.8 + i / 1000 for i in range(60)]
# What a reader does, one step after the other; what the table then shows becomes the page's title.
STEPS = """
const box = document.querySelector("[data-cases]"), seen = {}, errors = [];
window.onerror = (message) => errors.push(message);
const look = () => ({
  cases: [...box.querySelectorAll("tbody tr")].map((row) => row.cells[1].textContent),
  methods: [...new Set([...box.querySelectorAll("tbody tr")].map((row) => row.cells[0].textContent))],
  status: box.querySelector("[role=status]").textContent,
  sorted: [...box.querySelectorAll("th[aria-sort]")].map((head) => head.innerText.split(" ")[0] + head.ariaSort),
});
const heads = box.querySelectorAll("th button"), [find, only] = box.querySelectorAll("input, select");
seen.start = look();
heads[2].click(); seen.worst = look();
heads[2].click(); seen.best = look();
heads[1].click(); seen.named = look();
find.value = "C59"; find.oninput(); seen.found = look();
find.value = ""; find.oninput(); only.value = "1"; only.onchange(); seen.only = look();
box.querySelector(".more").click(); seen.more = look();
const tabs = [...document.querySelectorAll("[role=tab]")];
const shown = () => tabs.map((tab) => !document.getElementById(tab.getAttribute("aria-controls")).hidden);
seen.tabs = [shown()];
tabs[0].focus();
tabs[0].parentNode.onkeydown(new KeyboardEvent("keydown", { key: "ArrowRight" })); seen.tabs.push(shown());
tabs.at(-1).click(); seen.tabs.push(shown());
seen.asked = performance.getEntriesByType("resource").map((entry) => entry.name);
seen.width = document.documentElement.scrollWidth - innerWidth;
seen.errors = errors;
document.title = JSON.stringify(seen);
"""


def browse(page, *options):
    """What chromium prints, with the messages of its console."""
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", *options)
    command = [BROWSER, *options, "--enable-logging=stderr", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, re.findall(r"CONSOLE.*", done.stderr)


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    names = [*HOSTILE, *(f"c{i}" for i in range(len(HOSTILE), 60))]
    return build([write_method(folder, name, says, RIGHTS, cases=names) for name, says in (("a", 0.97), ("b", 0.9))])


def steps(html):
    """The page with the steps, which its policy must let run."""
    digest = base64.b64encode(hashlib.sha256(STEPS.encode()).digest()).decode()
    html = html.replace("script-src '", f"script-src 'sha256-{digest}' '", 1)
    return html.replace("</body>", f"<script>{STEPS}</script></body>")


def test_sorting_searching_and_tabs(html, tmp_path):
    (tmp_path / "page.html").write_text(steps(html), encoding="utf-8")
    dom, console = browse(tmp_path / "page.html", "--dump-dom", "--window-size=390,900")
    seen = json.loads(next(parse(dom).all("title")).text)
    assert (seen["errors"], console, seen["asked"]) == ([], [], [])
    assert seen["start"]["status"] == "50 of 120 shown"
    assert seen["worst"]["cases"][16:18] == ["c8", "c8"]  # the lowest DSC of both methods belong to hostile names
    assert (seen["worst"]["sorted"], seen["best"]["sorted"]) == (["DSCascending"], ["DSCdescending"])
    assert seen["best"]["cases"][:4] == ["c59", "c59", "c58", "c58"]
    assert seen["named"]["cases"] == sorted(seen["named"]["cases"])
    assert (seen["found"]["cases"], seen["found"]["status"]) == (["c59", "c59"], "2 of 2 shown")
    assert (seen["only"]["methods"], seen["only"]["status"]) == (["b"], "50 of 60 shown")
    assert seen["more"]["status"] == "60 of 60 shown"
    assert [shown.index(True) for shown in seen["tabs"]] == [0, 1, len(seen["tabs"][0]) - 1]
    assert all(sum(shown) == 1 for shown in seen["tabs"])
    assert seen["width"] <= 0, "a telephone scrolls sideways"


def test_the_script_shows_what_the_page_without_it_shows(html, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(html, encoding="utf-8")
    dom, console = browse(path, "--dump-dom")
    assert console == []
    before, after = (next(parse(text).all("div", **{"aria-label": "All cases"})).rows() for text in (html, dom))
    assert before == after
