"""The report from the outside: one page that says what the tables say, whatever names stand in them."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path

import pytest

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from calibeval.bins import bins_path
from calibeval.files import file_hash
from calibeval.report import as_html, build
from calibeval.summary import summarise
from calibeval.table import Row, read_table
from calibeval.wording import number
from tests.case_files import write_folders
from tests.report.helpers import HOSTILE, parse, write_method

OVER = [0.89, 0.90, 0.88, 0.91, 0.87, 0.89]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A model that says .97 and is right in .89, and one that keeps its word."""
    folder = tmp_path_factory.mktemp("two")
    return [
        write_method(folder, "boaster", 0.97, OVER, dsc=[0.8] * 6),
        write_method(folder, "honest", 0.89, OVER, dsc=[0.8] * 6),
    ]


@pytest.fixture(scope="module")
def html(two):
    return build(two, command="calibeval report x")


@pytest.fixture(scope="module")
def page(html):
    return parse(html)


def test_the_first_screen_says_who_boasts_and_where(page):
    cards = [card.text for card in page.all("article")]
    assert "over-confident" in cards[0]
    assert "says 97.0%, is right in 89.0%" in " ".join(cards[0].split())
    assert "keeps its word" in cards[1]
    lead = next(page.all("p", **{"class": "lead"})).text
    assert lead == "boaster is over-confident, most in LV; honest keeps its word."


def test_its_numbers_are_those_of_the_tables(two, page):
    numbers = next(page.all("section", id="numbers")).rows()
    assert [" ".join(cell.split()) for cell in numbers[0]] == ["method", "DSC ↑", "ECE ↓", "gap →0", "cases"]
    for path, line in zip(two, numbers[1:], strict=True):
        rows = [Row(*row) for row in read_table(path)[1].itertuples(index=False)]
        means = {row.metric: number(row.mean) for row in summarise(rows)}
        assert line == [path.stem, means["DSC"], means["ECE"], means["gap"], "6"]
        cases = {(row.case, row.metric): row.value for row in rows if row.class_name in ("mean", "all")}
        shown = {line[1]: line[2:5] for line in _cases(page) if line[0] == path.stem}
        assert shown == {f"c{i}": [number(cases[f"c{i}", name]) for name in ("DSC", "ECE", "gap")] for i in range(6)}


def _cases(page):
    (region,) = page.all("div", **{"aria-label": "All cases"})
    return region.rows()[1:]


def test_the_script_holds_the_same_rows_as_the_page(page):
    (script,) = page.all("script", type="application/json")
    data = json.loads(script.text)
    rows = [[data["methods"][m]["name"], data["cases"][c], *rest, data["states"][s]] for m, c, s, *rest in data["rows"]]
    assert rows == _cases(page)
    assert [row[0] for row in rows[:6]] == ["boaster"] * 6  # the worst first: 10 points, then 9, 8 ...
    assert rows[0][1:] == ["c4", "0.8000", "0.1000", "0.1000", ""]


def test_one_page_asks_nothing_of_the_network_and_runs_its_own_script_alone(html, page):
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy.attrs["content"].startswith("default-src 'none'; ")
    assert not re.search(r'(src|href)="(?!#|data:)', html)
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)
    assert not any(name.startswith("on") for node in page.all() for name in node.attrs)


def test_every_identifier_is_one_and_every_reference_leads_to_one(page):
    names = [node.attrs["id"] for node in page.all() if "id" in node.attrs]
    assert len(names) == len(set(names))
    wanted = {value[1:] for node in page.all() for name, value in node.attrs.items() if name.endswith("href")}
    wanted |= {
        found for node in page.all() for value in node.attrs.values() for found in re.findall(r"url\(#(.+?)\)", value)
    }
    assert wanted - {"ata:,"} <= set(names)


def test_pictures_have_words_and_tables_have_heads(page):
    pictures = [node for tag in ("svg", "img") for node in page.all(tag)]
    assert len(pictures) >= 4
    assert all(node.attrs.get("aria-label") or node.attrs.get("alt") for node in pictures)
    assert "Reliability diagram of boaster, all structures. over-confident: says 97%, is right in 89%" in {
        node.attrs["aria-label"] for node in pictures
    }
    assert all(head.attrs.get("scope") for table in page.all("table") for head in table.all("th"))


def test_hostile_names_are_text(tmp_path):
    """As methods, cases and data set: nothing becomes an element, and what can be read is all there."""
    methods = "".join(HOSTILE[:4]), "".join(HOSTILE[4:])
    paths = [
        write_method(tmp_path, method, says, OVER + [0.89] * 2, file=f"t{i}", cases=list(HOSTILE), dataset=HOSTILE[0])
        for i, (method, says) in enumerate(zip(methods, (0.97, 0.9), strict=True))
    ]
    html = build(paths)
    page = parse(html)
    assert len(list(page.all("script"))) == 2
    assert list(page.all("img")) == []
    assert not any(name.startswith("on") for node in page.all() for name in node.attrs)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202a-\u202e]", html)
    data = json.loads(next(page.all("script", type="application/json")).text)
    assert (
        {line[0] for line in _cases(page)}
        == {method["name"] for method in data["methods"]}
        == set(map(_shown, methods))
    )
    assert {line[1] for line in _cases(page)} == set(data["cases"]) == set(map(_shown, HOSTILE))


def _shown(name):
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", lambda mark: ascii(mark[0])[1:-1], name)


def test_gaps_are_named(tmp_path):
    """A side file that is missing, broken, of another run, or of label maps alone; and a table of several methods."""
    write_method(tmp_path, "whole", 0.9, OVER)
    write_method(tmp_path, "alone", 0.9, OVER, side=False)
    bins_path(write_method(tmp_path, "broken", 0.9, OVER)).write_bytes(b"PK")
    other = write_method(tmp_path, "other", 0.9, OVER)
    bins_path(write_method(tmp_path, "guo", 0.9, OVER, signature="guo|ECE:top,all,15bins")).replace(bins_path(other))
    paths = [tmp_path / f"{name}.csv" for name in ("whole", "alone", "broken", "other")]
    page = parse(build(paths))
    gaps = {" ".join(node.text.split()) for node in page.all("p", **{"class": "gap"})}
    assert f"alone: {tmp_path}/alone.bins.npz is missing. Put it beside the table, or score again." in gaps
    assert any(gap.startswith("broken: ") and "is no side file" in gap for gap in gaps)
    assert any(gap.startswith("other: ") and "scored by other choices" in gap for gap in gaps)
    assert any("No volumes were given" in gap for gap in gaps)
    assert [card.text.strip()[:5] for card in page.all("article")] == ["whole"]
    assert len(next(page.all("section", id="numbers")).rows()) == 5


def test_what_may_not_be_compared_is_said_and_why(tmp_path):
    paths = [
        write_method(tmp_path, "a", 0.9, OVER),
        write_method(tmp_path, "b", 0.9, OVER, side=False, signature="x|ECE:top,all,15bins"),
    ]
    page = parse(build(paths))
    said = [node.text for node in page.all("li")]
    assert any("May not be compared" in text and "confidence, voxels and bins of ECE" in text for text in said)
    other = write_method(tmp_path, "c", 0.9, OVER[:5])
    page = parse(build([paths[0], other]))
    assert any("The methods are not ranked" in node.text for node in page.all("li"))
    assert not list(page.all("section", id="ranking"))


def test_failed_cases_come_first_and_are_counted(tmp_path):
    path = write_method(tmp_path, "m", 0.9, OVER)
    text = path.read_text().replace("m,A,c3,RV,DSC,0.91,,ok", "m,A,c3,RV,DSC,,,empty_prediction")
    text = re.sub(r"m,A,c5,(\w+),(\w+),[0-9.e+-]+,,ok", r"m,A,c5,\1,\2,,,failed", text)
    path.write_text(text)
    page = parse(build([path]))
    assert (_cases(page)[0][1], _cases(page)[0][-1]) == ("c5", "failed")
    assert _cases(page)[0][2] == "\N{EN DASH}"
    assert next(line for line in _cases(page) if line[1] == "c3")[-1] == "empty prediction: RV"
    (small,) = [node.text for node in next(page.all("section", id="numbers")).all("span") if "failed" in node.text]
    assert small == "1 empty prediction, 1 failed"


def test_many_cases_are_not_all_in_the_page(tmp_path):
    rights = [0.8 + i / 1000 for i in range(120)]
    page = parse(build([write_method(tmp_path, "m", 0.9, rights)]))
    assert len(_cases(page)) == 50
    assert len(json.loads(next(page.all("script", type="application/json")).text)["rows"]) == 120
    assert any("The first 50 of 120 are printed" in node.text for node in page.all("p"))


def test_sources_are_named_with_their_hashes(two, page):
    how = next(page.all("section", id="how")).text
    for path in (*two, *map(bins_path, two)):
        assert file_hash(path) in how
    assert "calibeval report x" in how
    assert "calibeval score preds labels" in how
    assert read_table(two[0])[0].signature in how


def test_training_curves_or_why_there_are_none(two, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.csv").write_text("epoch,loss,loss_ce,val_DSC\n1,0.9,0.5,0.4\n2,0.5,0.3,0.7\n")
    page = parse(build(two, run=run))
    part = next(page.all("section", id="training"))
    assert "2 epochs: loss 0.900 to 0.500; best validation DSC 0.700 after epoch 2" in part.text
    (run / "metrics.csv").write_text("epoch,loss,val_DSC\n1,x,0.4\n")
    assert "holds what is no number" in next(parse(build(two, run=run)).all("section", id="training")).text
    assert "no such file" in next(parse(build(two, run=tmp_path)).all("section", id="training")).text


def test_several_data_sets_stand_apart(tmp_path):
    paths = [
        write_method(tmp_path, "m", 0.97, OVER, file=f"m{name}", dataset=name, cases=[f"{name}{i}" for i in range(6)])
        for name in "AB"
    ]
    page = parse(build(paths))
    assert [line[0] for line in next(page.all("section", id="numbers")).rows()[1:]] == ["m (A)", "m (B)"]


def test_command(cli, two, tmp_path):
    outcome = cli("report", *two, "-o", "x/page.html")
    assert (outcome.code, outcome.out, outcome.err) == (0, "wrote x/page.html\n", "")
    assert "calibeval report" in Path("x/page.html").read_text(encoding="utf-8")
    assert cli("report", *two, "--quiet").out == ""
    assert Path("report.html").is_file()
    (tmp_path / "wide.csv").write_text("method,DSC\nx,.5\n")
    outcome = cli("report", "wide.csv", "-o", "no.html")
    assert (outcome.code, "needs tables of cases" in outcome.err) == (2, True)
    assert not Path("no.html").exists()


def test_check_writes_the_same_page_with_the_gates_on_top(cli, two):
    outcome = cli("check", two[0], "--gate", "mean(ECE) <= 0.01", "--out", "x.html")
    assert outcome.code == 1
    page = parse(Path("x.html").read_text(encoding="utf-8"))
    (gates,) = page.all("section", id="gates")
    assert "not passed (1 failed, 1 passed)" in gates.text
    assert gates.rows()[1][:2] == ["failed", "mean(ECE) <= 0.01"]
    assert "c4: 0.1" in gates.text
    assert next(page.all("section", id="numbers")).rows()[1][0] == "boaster"
    assert [card.text.strip()[:7] for card in page.all("article")] == ["boaster"]


def test_a_check_of_files_alone_has_a_page_too(tmp_path):
    from calibeval.gates.report import Outcome, Report

    page = parse(as_html(Report("preds", (Outcome("shape: <b>", "integrity", "failed", "1 of 2 files"),))))
    assert next(page.all("h1")).text == "The check did not pass."
    assert "shape: <b>" in next(page.all("section", id="gates")).text
    assert not list(page.all("section", id="numbers"))


def test_slices_of_the_worst_cases_and_why_some_are_missing(cli, tmp_path):
    preds, labels = write_folders(tmp_path)
    assert cli("score", preds, labels, "--quiet", "-o", "m.csv").code == 0
    folders = {"preds": preds, "labels": labels, "worst": 3}
    pictures = list(parse(build([Path("m.csv")], **folders)).all("img"))
    assert len(pictures) == 3
    assert all(node.attrs["src"].startswith("data:image/webp;base64,UklGR") for node in pictures)
    assert all("m: " in node.attrs["alt"] and node.attrs["loading"] == "lazy" for node in pictures)
    (gone, *_) = sorted(preds.iterdir())
    gone.unlink()
    page = parse(build([Path("m.csv")], **folders))
    assert len(list(page.all("img"))) == 2
    gaps = [" ".join(node.text.split()) for node in page.all("p", **{"class": "gap"})]
    assert any("has no prediction of m" in gap for gap in gaps), gaps
    page = parse(build([Path("m.csv")], preds=tmp_path / "none", labels=labels))
    assert any("none" in node.text for node in page.all("p", **{"class": "gap"}))


def test_a_table_of_another_tool_has_its_numbers_and_names_its_gap(cli, two):
    assert cli("check", two[0], "--gate", "mean(DSC) >= 0", "--out", "net/summary.json").code == 0
    page = parse(build([Path("net/summary.json")]))
    assert next(page.all("section", id="numbers")).rows()[1][:2] == ["net", "0.8000"]
    gap = next(page.all("p", **{"class": "gap"})).text
    assert " ".join(gap.split()).startswith("net: net/summary.json was not written by calibeval score")


def test_text_can_be_read_in_light_and_dark():
    """Contrast of 4.5 at least (WCAG 2.1, 1.4.3) of every pair of colours that text and its ground have."""
    style = files("calibeval.report").joinpath("page.css").read_text(encoding="utf-8")
    light, dark = (dict(re.findall(r"--([a-z-]+):(#[0-9a-f]+)", block)) for block in style.split(":root{")[1:3])
    pairs = [(text, ground) for text in ("fg", "mute") for ground in ("bg", "soft")]
    pairs += [(tone, f"{tone}-bg") for tone in ("over", "under", "kept", "bad")] + [("ink", "bg"), ("grey", "bg")]
    for colours in (light, light | dark):
        ratios = {pair: _contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs}
        assert {pair: ratio for pair, ratio in ratios.items() if ratio < 4.5} == {}


def _contrast(one, other):
    lights = sorted(map(_light, (one, other)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def _light(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = (int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
