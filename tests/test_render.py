"""The report: the same bytes every time, safe with any text, and all that page one must say."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from reports.model import Level, RunError
from reports.render import render, render_all
from reports.render.escape import cell, number, page, visible
from reports.render.svg import Scale, log_ticks, ticks
from reports.store import RENDERED, open_run
from tests.sample_run import HOSTILE, sample_run

SCHEMA = json.loads((Path(__file__).parents[1] / "reports" / "report.schema.json").read_text())
_VOID = {"meta", "br", "img", "link", "input", "hr", "rect", "line", "circle", "path"}


class Page(html.parser.HTMLParser):
    """Reads a page strictly: tags must nest, and everything is counted."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    @property
    def said(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return sample_run(tmp_path_factory.mktemp("good"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return sample_run(tmp_path_factory.mktemp("hostile"), failing=20, text=HOSTILE + "A" * 1_000_000)


def test_rendering_again_elsewhere_and_later_gives_the_same_bytes(good, tmp_path, monkeypatch):
    copy = tmp_path / "copied"
    shutil.copytree(good.path, copy)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setattr("time.time", lambda: 4e9)
    before = {name: (good.path / name).read_bytes() for name in RENDERED}
    for name in RENDERED:
        (copy / name).unlink()
    render_all(open_run(copy))
    assert {name: (copy / name).read_bytes() for name in RENDERED} == before


def test_report_json_is_what_its_schema_says(good, hostile):
    for store in (good, hostile):
        jsonschema.validate(store.read_json("report.json"), SCHEMA)
    found = good.read_json("report.json")
    assert (found["verdict"], found["exit_code"]) == ("GO", 0)
    assert found["headline"].startswith("GO (smoke, lab-upstream): 21 of 21")
    assert [target["side"] for target in found["targets"]] == ["swarm", "kubernetes"]


def test_page_one_says_all_that_it_must(good):
    said = Page((good.path / "report.html").read_text()).said
    first = said[: said.index("Criteria Every line")]
    for words in (
        "GO",
        "21 of 21 blocking criteria shown",
        "Profile smoke , level lab-upstream",
        "K3s itself: Kubernetes here is upstream",
        "No check covers it yet (1): cutover gpu",
        "Waits for a person's sign-off (1): operational training",
        "Ana",
        "not in force",
        "scale : replicas 1",
        "network_policy_engine: none",
        "Not undone yet",
        "Response times, Kubernetes against Docker Swarm",
        "health p50",
        "smallest detectable",
        "9,000",
    ):
        assert words in first, words


def test_a_failure_is_named_on_page_one(tmp_path):
    store = sample_run(tmp_path, failing=20)
    said = Page((store.path / "report.html").read_text()).said
    assert "NO-GO" in said[:40]
    assert "kubernetes: github-v2 refused" in said[: said.index("What this run does not prove")]
    assert said.count("github-v2 refused") >= 20


def test_links_lead_somewhere_and_ids_are_unique(good):
    found = Page((good.path / "report.html").read_text())
    ids = [attrs["id"] for _, attrs in found.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [attrs["href"] for tag, attrs in found.tags if tag == "a"]
    assert links
    for link in links:
        assert link is not None
        assert link.startswith("#")
        assert link[1:] in ids


def test_pictures_and_tables_are_named_for_those_who_cannot_see_them(good):
    text = (good.path / "report.html").read_text()
    found = Page(text)
    drawings = [attrs for tag, attrs in found.tags if tag == "svg"]
    assert len([one for one in drawings if one.get("role") == "img"]) >= 6
    assert all(one.get("aria-labelledby") or one.get("aria-hidden") for one in drawings)
    tags = [tag for tag, _ in found.tags]
    assert tags.count("table") == tags.count("caption") > 4
    assert all("scope" in attrs for tag, attrs in found.tags if tag == "th")
    assert '<html lang="en">' in text
    assert "prefers-color-scheme:dark" in text
    assert "@media print" in text


def test_nothing_in_a_page_runs_or_loads(good, hostile):
    for store in (good, hostile):
        text = (store.path / "report.html").read_text()
        found = Page(text)
        tags = {tag for tag, _ in found.tags}
        assert not tags & {"script", "img", "link", "iframe", "object", "embed", "form", "base"}
        names = {name for _, attrs in found.tags for name in attrs}
        assert not {name for name in names if name.startswith("on")}
        assert not names & {"src", "srcset", "style", "xlink:href"}
        assert "url(" not in text
        assert "@import" not in text
        assert "default-src 'none'" in text


def test_hostile_text_is_shown_and_harmless_in_every_form(hostile):
    for name in RENDERED:
        data = (hostile.path / name).read_bytes()
        text = data.decode()
        assert len(data) < (4_000_000 if name == "report.json" else 900_000), name
        assert "\x1b" not in text
        assert "\x00" not in text
        assert "\u202e" not in text
    assert "<script>alert(1)</script>" in Page((hostile.path / "report.html").read_text()).said
    assert re.search(r"\[10000\d\d characters\]", (hostile.path / "report.html").read_text())
    markdown = (hostile.path / "report.md").read_text()
    assert "<script" not in markdown
    assert "<img" not in markdown
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    for line in rows:
        assert re.sub(r"\\\|", "", line).count("|") in {5, 8}, line[:200]


def test_junit_is_xml_with_one_case_a_criterion(good, hostile):
    root = ET.fromstring((hostile.path / "junit.xml").read_text())  # noqa: S314 - our own file
    suite = root.find("testsuite")
    assert suite is not None
    cases = suite.findall("testcase")
    assert len(cases) == 23 == int(suite.attrib["tests"])
    assert len(suite.findall("testcase/failure")) == int(suite.attrib["failures"]) == 19, (
        "one of 20 is waived"
    )
    assert len(suite.findall("testcase/error")) == int(suite.attrib["errors"]) == 1
    again = ET.fromstring((good.path / "junit.xml").read_text())  # noqa: S314 - our own file
    assert again.find("testsuite/testcase/failure") is None


def test_no_evidence_at_all_is_still_a_report(tmp_path):
    from reports.model import Profile
    from reports.store import create

    store = create(tmp_path, "lab", Profile.SMOKE)
    verdict = render_all(store)
    assert verdict.exit_code == 3
    said = Page((store.path / "report.html").read_text()).said
    for words in (
        "INCONCLUSIVE",
        "Not measured in this run",
        "No evidence was recorded",
        "No step was recorded",
    ):
        assert words in said
    jsonschema.validate(store.read_json("report.json"), SCHEMA)


def test_a_stub_says_that_it_proves_nothing(tmp_path):
    store = sample_run(tmp_path, level=Level.STUB)
    said = Page((store.path / "report.html").read_text()).said
    assert "INCONCLUSIVE" in said[:40]
    assert "no-op target runs local processes" in said


def test_a_broken_input_is_a_clear_error_not_a_crash(tmp_path):
    store = sample_run(tmp_path)
    store.write_json("load/comparison.json", {"outcome": "MAYBE", "endpoints": [{}]})
    with pytest.raises(RunError, match="does not hold what a report needs") as stop:
        render(store)
    assert stop.value.exit_code == 3


def test_an_interrupted_run_is_never_go(tmp_path):
    store = sample_run(tmp_path)
    store.update_run(interrupted="SIGINT")
    assert render_all(store).exit_code == 3
    assert "this run was interrupted: SIGINT" in (store.path / "report.md").read_text()


def test_visible_shows_controls_and_cuts():
    assert visible("a\x1b]8;;http://x\x07b\x1b[1;31mc") == "abc"
    assert visible("a\r\nb\tc\x07") == "a b c\ufffd"
    assert visible(None) == ""
    assert visible("y" * 700).endswith("… [700 characters]")
    assert visible("z" * 10 + "… [999 characters]", 8).endswith("… [999 characters]")
    assert page("<a href='x'>\"&") == "&lt;a href=&#x27;x&#x27;&gt;&quot;&amp;"
    assert cell("a|b`c`<d>*e*[f](g)") == "a\\|b\\`c\\`&lt;d&gt;\\*e\\*\\[f\\](g)"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, ""),
        (16, "16"),
        (16.0, "16"),
        (0.123456, "0.1235"),
        (12345, "12,345"),
        (12345.6, "12,346"),
        ("x", "x"),
    ],
)
def test_numbers_are_short(value, said):
    assert number(value) == said


def test_ticks_are_round_and_inside():
    assert ticks(0, 10, 5) == [0, 2, 4, 6, 8, 10]
    assert ticks(3, 3) == [3]
    assert ticks(-0.07, 0.13, 4) == [-0.05, 0.0, 0.05, 0.1]
    assert log_ticks(0.9, 120) == [1, 2, 5, 10, 20, 50, 100]
    assert len(log_ticks(0.001, 1_000_000)) <= 10
    assert Scale(0, 10, 100, 200)(25) == 200
    assert Scale(1, 100, 0, 2, log=True)(10) == pytest.approx(1)


def test_the_style_sheet_travels_with_the_package():
    from reports import render as package

    assert package.__file__ is not None
    assert Path(package.__file__).with_name("style.css").is_file()
