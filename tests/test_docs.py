"""The tutorials are true to the code: their commands parse, their example check is one."""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path

import pytest

from fixtures.commands import check
from fixtures.runbooks import read_runbooks
from reports.catalogue import catalogue
from tests.test_arrows import broken, imports
from verbs.parse import wrong_with

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("tutorial.md", "how-to-add-a-check.md")


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_every_gonogo_command_of_the_tutorials_parses(tmp_path, monkeypatch):
    monkeypatch.setattr(check, "ask_gonogo", lambda lines: [wrong_with(line) for line in lines])
    for name in PAGES:
        shutil.copy(ROOT / "docs" / name, tmp_path)
    books = read_runbooks(tmp_path)
    assert [problem for book in books for problem in book.problems if "gonogo refuses" in problem] == []
    asked = [command for book in books for command in book.commands if command.words[0] == "gonogo"]
    assert len(asked) >= 15


def test_the_example_check_is_one(tmp_path):
    code = re.search(r"```python\n(.*?)```", page("how-to-add-a-check.md"), re.DOTALL)
    assert code is not None
    path = tmp_path / "test_example.py"
    path.write_text(code[1], encoding="utf-8")
    assert ast.parse(code[1])
    assert not broken("suites", imports(path))
    (named,) = re.findall(r'criterion\("([^"]+)"\)', code[1])
    assert named in {one.id for one in catalogue()}


def test_the_limit_of_the_how_to_is_how_it_is_asked():
    assert 'limit_of("metric.recovery_time", unit="min", default=5.0)' in page("how-to-add-a-check.md")


@pytest.mark.parametrize("name", [*PAGES, "criteria.md", "principles.md"])
def test_links_lead_somewhere(name):
    for link in re.findall(r"\]\(([^)#]+)\)", page(name)):
        assert link.startswith("http") or (ROOT / "docs" / link).exists(), link


def test_runbooks_link_to_each_other():
    for path in (ROOT / "docs" / "runbooks").glob("*.md"):
        for link in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / link).exists(), f"{path.name}: {link}"


def test_every_path_of_the_how_to_is_there():
    for name in re.findall(
        r"`((?:suites|reports|fixtures|tests|verbs|provisioners)/[\w/]+\.py)`", page(PAGES[1])
    ):
        assert (ROOT / name).is_file(), name
