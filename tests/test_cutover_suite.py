"""The cutover suite and its verb on the no-op twin: one rehearsal, evidence for all, nothing left."""

from __future__ import annotations

from pathlib import Path

import pytest

import gonogo
from fixtures.cutover_findings import CRITERIA
from reports.model import Evidence, Status
from reports.store import Store, open_run
from tests.noop_run import SuiteRun, noop, suites

pytestmark = pytest.mark.noop

SHORT = ("--gonogo-cutover-steps", "50,100", "--gonogo-cutover-rate", "60", "--gonogo-cutover-bound", "15")
PLUGINS = ("-p", "fixtures.cutover", "-p", "verbs.cutover")


def rehearsed(tmp_path: Path, mutations: str = "") -> tuple[Store, dict[str, Evidence], SuiteRun]:
    with noop(tmp_path, mutations) as store:
        seen = suites(
            store,
            "suites/operations/test_cutover.py",
            "--gonogo-profile",
            "nightly",
            *PLUGINS,
            *SHORT,
            timeout_s=280,
        )
    return store, {row.criterion: row for row in seen.evidence}, seen


def test_every_criterion_of_a_rehearsal_gets_evidence(tmp_path):
    store, rows, seen = rehearsed(tmp_path)
    assert set(rows) == set(CRITERIA), seen.output[-3_000:]
    # p95 cannot be seen in so short a rehearsal, and is not said to be.
    assert rows["phase3.gates"].status is not Status.PASS
    assert rows["rollback.post_mortem"].status is Status.PASS, rows["rollback.post_mortem"]
    assert rows["rollback.traffic"].samples > 0
    assert (store.path / "cutover" / "post-mortem.md").is_file()
    assert not store.read_undo()


def test_a_side_that_errs_is_red(tmp_path):
    store, rows, seen = rehearsed(tmp_path, "flaky")
    assert rows["phase3.blue_green"].status is Status.FAIL, seen.output[-3_000:]
    assert rows["phase3.gates"].status is Status.FAIL
    assert "errors" in rows["phase3.gates"].why
    assert not store.read_undo()


def test_smoke_rehearses_nothing(tmp_path):
    with noop(tmp_path) as store:
        seen = suites(store, "suites/operations/test_cutover.py", *PLUGINS)
    assert not seen.evidence


def test_the_verb_writes_a_run_that_is_judged_by_the_rehearsal_alone(tmp_path, capsys):
    argv = ["cutover", "rehearse", "-t", "noop", "--steps", "50,100", "--rate", "60", "--bound", "15"]
    with pytest.raises(SystemExit) as left:
        gonogo.main([*argv, "--by", "A Person", "--runs", str(tmp_path)])
    out = capsys.readouterr().out
    store = open_run(Path(out.split()[0]))
    assert left.value.code in (1, 3), "a stub is never a GO"
    assert {one.id for one in store.read_criteria()} == set(CRITERIA)
    assert {row.criterion for row in store.read_evidence()} == set(CRITERIA)
    assert "A Person" in (store.path / "cutover" / "post-mortem.md").read_text()
    assert not store.read_undo()
    assert not store.problems()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--steps", "50,20,100"), "no steps of a cutover"),
        (("--rate", "0"), "--rate 0"),
        (("--bound", "nan"), "--bound nan"),
        (("--bound", "1e9"), "--bound"),
    ],
)
def test_bad_input_is_refused_before_anything_starts(more, said, tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        gonogo.main(["cutover", "rehearse", "-t", "noop", "--runs", str(tmp_path / "runs"), *more])
    assert left.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
