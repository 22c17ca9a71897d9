"""fixtures.record: how each outcome becomes evidence, and that every check is expected beforehand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = "pytester"

ROOT = Path(__file__).resolve().parent.parent

RECORDER = """
import json, os
from dataclasses import asdict
import pytest

pytest_plugins = ["fixtures.record"]

class Lines:
    def _write(self, kind, **row):
        handle = os.open({path!r}, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
        os.write(handle, (json.dumps({{"kind": kind, **row}}) + "\\n").encode())
        os.close(handle)
    def expect(self, criterion, check):
        self._write("expect", criterion=criterion, check=check, pid=os.getpid())
    def evidence(self, evidence):
        self._write("evidence", **asdict(evidence))
    def undo(self, undo):
        self._write("undo", **asdict(undo))

def pytest_gonogo_recorder(config):
    return Lines()

@pytest.fixture(params=["swarm", "kubernetes"])
def target(request):
    return request.param
"""

CHECKS = """
import pytest

pytestmark = pytest.mark.criterion("a.b")

def test_pass(record): record(observed=3, unit="ms", samples=5, pairs={"x": 1})
def test_pass_without_record(): pass
def test_pass_with_no_samples(record): record(samples=0, why="the list was empty")
def test_doubt(record):
    record(samples=1)
    record.inconclusive("too few to tell")
def test_doubt_and_failure(record):
    record.inconclusive("too few to tell")
    assert 1 == 2, "one is not two"
def test_assert(record):
    record(observed=15, unit="servers", samples=16)
    assert 15 == 16, "15 of 16"
def test_bare_assert(): assert len([]) == 1
def test_fail(): pytest.fail("said so")
def test_raise(record):
    record(samples=1)
    raise ConnectionError("gone")
def test_skip(): pytest.skip("no eyes")
@pytest.mark.skip(reason="marked")
def test_skip_mark(): pass
@pytest.mark.xfail
def test_xfail_hides_nothing(): assert False, "still a failure"
@pytest.fixture
def broken(): raise OSError("set-up broke")
def test_setup_error(broken): pass
@pytest.fixture
def messy():
    yield
    raise OSError("clean-up broke")
def test_teardown_error(messy, record): record(samples=1)
def test_side(target, record): record(samples=1)
@pytest.mark.criterion("c.d", "e.f")
def test_three_criteria(record):
    record(samples=1, criterion="a.b")
    record(samples=2, criterion="c.d", observed=7)
    record(samples=2, criterion="c.d", observed=8)
def test_long(): assert False, "x" * 10_000
"""


def rows_of(
    pytester: pytest.Pytester, *arguments: str, checks: str = CHECKS, how: str = "inprocess"
) -> list[dict[str, Any]]:
    path = pytester.path / "rows.jsonl"
    pytester.makeconftest(RECORDER.format(path=str(path)))
    pytester.makepyfile(checks)
    run = {"inprocess": pytester.runpytest_inprocess, "subprocess": pytester.runpytest_subprocess}[how]
    run("-p", "no:cacheprovider", *arguments)
    return read(path)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(autouse=True)
def _no_foreign_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def evidence(pytester: pytest.Pytester) -> dict[str, list[dict[str, Any]]]:
    by_check: dict[str, list[dict[str, Any]]] = {}
    for row in rows_of(pytester):
        if row["kind"] == "evidence":
            by_check.setdefault(row["check"].partition("::")[2], []).append(row)
    return by_check


def test_outcomes(evidence: dict[str, list[dict[str, Any]]]) -> None:
    seen = {check: (rows[0]["status"], rows[0]["why"]) for check, rows in evidence.items()}
    assert seen["test_pass"] == ("PASS", "")
    assert seen["test_pass_without_record"] == ("INCONCLUSIVE", "saw nothing")
    assert seen["test_pass_with_no_samples"] == ("INCONCLUSIVE", "saw nothing; the list was empty")
    assert seen["test_doubt"] == ("INCONCLUSIVE", "too few to tell")
    assert seen["test_doubt_and_failure"][0] == "FAIL"
    assert seen["test_assert"][0] == "FAIL"
    assert seen["test_assert"][1] == "15 of 16", "the message is enough, what pytest adds is not"
    assert seen["test_bare_assert"][1].startswith("assert 0 == 1")
    assert seen["test_fail"] == ("FAIL", "said so")
    assert seen["test_raise"] == ("INCONCLUSIVE", "the check could not look: ConnectionError: gone")
    assert seen["test_skip"] == ("NOT_RUN", "no eyes")
    assert seen["test_skip_mark"] == ("NOT_RUN", "marked")
    assert seen["test_xfail_hides_nothing"][0] == "FAIL"
    assert seen["test_setup_error"] == ("INCONCLUSIVE", "set-up failed: OSError: set-up broke")
    assert len(seen["test_long"][1]) < 2_100
    assert "characters" in seen["test_long"][1]


def test_what_was_observed(evidence: dict[str, list[dict[str, Any]]]) -> None:
    row = evidence["test_pass"][0]
    assert (row["observed"], row["unit"], row["samples"], row["data"]["pairs"]) == (3, "ms", 5, {"x": 1})
    assert row["at"].endswith("Z")
    assert row["attempt"] == 1
    failed = evidence["test_assert"][0]
    assert (failed["observed"], failed["samples"]) == (15, 16)


def test_clean_up_error_is_a_row_of_its_own(evidence: dict[str, list[dict[str, Any]]]) -> None:
    assert [row["status"] for row in evidence["test_teardown_error"]] == ["PASS", "INCONCLUSIVE"]


def test_side(evidence: dict[str, list[dict[str, Any]]]) -> None:
    assert evidence["test_side[swarm]"][0]["side"] == "swarm"
    assert evidence["test_side[kubernetes]"][0]["side"] == "kubernetes"
    assert evidence["test_pass"][0]["side"] == "both"


def test_observation_for_one_criterion(evidence: dict[str, list[dict[str, Any]]]) -> None:
    seen = [(row["criterion"], row["status"], row["observed"]) for row in evidence["test_three_criteria"]]
    assert seen == [
        ("a.b", "PASS", None),
        ("c.d", "PASS", 7),
        ("c.d", "PASS", 8),
        ("e.f", "INCONCLUSIVE", None),
    ]


def test_every_check_is_expected_even_if_left_out(pytester: pytest.Pytester) -> None:
    rows = rows_of(pytester, "-k", "test_pass")
    expected = {row["check"].partition("::")[2] for row in rows if row["kind"] == "expect"}
    ran = {row["check"].partition("::")[2] for row in rows if row["kind"] == "evidence"}
    assert {"test_fail", "test_raise", "test_side[swarm]"} <= expected
    assert ran == {"test_pass", "test_pass_without_record", "test_pass_with_no_samples"}
    assert rows[0]["kind"] == "expect", "expected after something ran"


def test_collecting_alone_expects_and_runs_nothing(pytester: pytest.Pytester) -> None:
    rows = rows_of(pytester, "--collect-only", "-k", "test_pass")
    assert {row["kind"] for row in rows} == {"expect"}
    assert len({row["check"] for row in rows}) == 18


def test_marker_without_an_id_is_refused(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(RECORDER.format(path=str(pytester.path / "rows.jsonl")))
    pytester.makepyfile("import pytest\n@pytest.mark.criterion\ndef test_x(): pass\n")
    done = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    assert done.ret == pytest.ExitCode.USAGE_ERROR


def test_without_a_recorder_checks_still_run(pytester: pytest.Pytester) -> None:
    pytester.makeconftest('pytest_plugins = ["fixtures.record"]\n')
    pytester.makepyfile("import pytest\n@pytest.mark.criterion('a')\ndef test_x(record): record(samples=1)\n")
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_workers_write_each_row_once(pytester: pytest.Pytester) -> None:
    checks = """
import os, pytest
@pytest.mark.criterion("a.b")
@pytest.mark.parametrize("n", range(8))
def test_x(n, record):
    record(samples=1)
@pytest.mark.criterion("a.b")
def test_crash():
    os._exit(3)
"""
    rows = rows_of(pytester, "-p", "xdist.plugin", "-n", "2", checks=checks, how="subprocess")
    expected = [row for row in rows if row["kind"] == "expect"]
    ran = [row["check"] for row in rows if row["kind"] == "evidence"]
    assert len({row["check"] for row in expected}) == 9
    assert len(ran) == len(set(ran)) == 8, "a worker that died leaves a gap, not a pass"
    assert not any("crash" in check for check in ran)
