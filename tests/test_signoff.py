"""Sign-offs: written by a verb, taken up by runs, stale after their last day, refused when wrong."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from provisioners.errors import InputError
from reports.catalogue import catalogue
from reports.judge import judge
from reports.judgement import judge_run
from reports.model import Criterion, Evidence, Level, Profile, RunError, Status
from reports.store import create, open_run
from reports.verify import verify
from tests.sample_run import sample_run
from verbs.signoff import SignOff, append, read_signoffs, record_signoffs, signoff_command

ROOT = Path(__file__).resolve().parent.parent
TODAY = datetime.now(UTC).date()
LATER = f"{TODAY + timedelta(days=90)}"
TRAINING = "operational.training"


def sign(folder: Path, criterion: str = TRAINING, by: str = "Ana", until: str = LATER, **more: Any) -> int:
    options: dict[str, Any] = {"run": None, "file": folder / "signoffs.yaml", **more}
    return signoff_command(criterion, by, until, "trained on 3 days", **options)


def status_of(criterion: str, answers: tuple[SignOff, ...], today: date = TODAY) -> Status:
    rows = [one.evidence() for one in answers]
    verdict = judge(catalogue(), rows, [], Profile.CUTOVER, Level.HOSTS, today)
    return {one.criterion: one.status for one in verdict.findings}[criterion]


def test_a_sign_off_makes_its_criterion_pass_until_its_last_day(tmp_path):
    assert status_of(TRAINING, ()) is Status.MANUAL
    assert sign(tmp_path) == 0
    answers = read_signoffs(tmp_path / "signoffs.yaml")
    assert [(one.by, one.until, one.note) for one in answers] == [("Ana", LATER, "trained on 3 days")]
    last = date.fromisoformat(LATER)
    assert status_of(TRAINING, answers, last) is Status.PASS
    assert status_of(TRAINING, answers, last + timedelta(days=1)) is Status.MANUAL
    assert status_of("operational.incident_response", answers) is Status.MANUAL


def test_the_newest_answer_counts_and_the_older_stay(tmp_path):
    sign(tmp_path, by="Ana")
    sign(tmp_path, by='Bo "B" : #1')
    answers = read_signoffs(tmp_path / "signoffs.yaml")
    assert [one.by for one in answers] == ["Ana", 'Bo "B" : #1']
    stale = SignOff(TRAINING, "Cy", "2020-01-01", "2019-01-01")
    assert status_of(TRAINING, (*answers, stale)) is Status.MANUAL


def test_what_a_user_wrote_in_the_file_stays(tmp_path):
    path = tmp_path / "signoffs.yaml"
    path.write_bytes(
        b"\xef\xbb\xbfsignoffs:  # ours\r\n"
        b"  - {criterion: operational.runbooks, by: Di, until: 2030-01-01, signed: 2026-01-01}\r\n"
    )
    sign(tmp_path)
    assert [one.by for one in read_signoffs(path)] == ["Di", "Ana"]
    assert "# ours" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"criterion": "operational.trainig"}, "did you mean 'operational.training'"),
        ({"criterion": "technical.servers"}, "not answered by a person but by evidence (suite)"),
        ({"by": "  "}, "needs a name"),
        ({"until": "2020-01-01"}, "is over"),
        ({"until": "tomorrow"}, "is no date"),
        ({"run": Path("x")}, "two places"),
    ],
)
def test_a_wrong_sign_off_is_refused_and_writes_nothing(tmp_path, change, words):
    with pytest.raises(InputError) as caught:
        sign(tmp_path, **change)
    assert words in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n", "no list of sign-offs"),
        ("signoffs: yes\n", "no list of sign-offs"),
        ("signoffs: [7]\n", "1: is not a mapping"),
        ("signoffs: [{criterion: operational.training, by: A, until: 2030-01-01}]\n", "lacks signed"),
        (
            "signoffs: [{criterion: operational.training, by: A, until: soon, signed: 2026-01-01}]\n",
            "'soon' is no date",
        ),
        ("signoffs: [{criterion: x, by: A, until: 2030-01-01, signed: 2026-01-01}]\n", "no criterion 'x'"),
        (
            (
                "signoffs: [{criterion: operational.training, by: A, until: 2030-01-01,"
                " signed: 2026-01-01, who: x}]\n"
            ),
            "unknown who",
        ),
    ],
)
def test_a_file_that_is_wrong_is_refused(tmp_path, text, words):
    path = tmp_path / "signoffs.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        append(path, SignOff(TRAINING, "Ana", LATER, f"{TODAY}"))
    assert words in str(caught.value)
    assert path.read_text(encoding="utf-8") == text


def test_a_run_takes_the_answers_as_evidence(tmp_path):
    sign(tmp_path)
    store = create(tmp_path, "noop", Profile.SMOKE)
    store.criteria(catalogue())
    record_signoffs(store, read_signoffs(tmp_path / "signoffs.yaml"))
    found = {one.criterion: one for one in judge_run(store).findings}[TRAINING]
    assert (found.status, found.samples) == (Status.PASS, 1)
    assert found.why == f"signed off by Ana until {LATER}"


def test_a_finished_run_can_be_signed_and_still_verifies(tmp_path):
    store = sample_run(tmp_path)
    assert sign(tmp_path, run=store.path, file=None) == 0
    assert verify(store.path) == ()
    found = {one.criterion: one for one in judge_run(open_run(store.path)).findings}[TRAINING]
    assert found.status is Status.PASS


def test_an_edited_run_is_not_signed(tmp_path):
    store = sample_run(tmp_path)
    evidence = store.path / "evidence.jsonl"
    evidence.write_bytes(evidence.read_bytes().replace(b"PASS", b"FAIL", 1))
    with pytest.raises(RunError, match="cannot be relied on"):
        sign(tmp_path, run=store.path, file=None)


def test_a_sign_off_does_not_hide_a_failed_check():
    criterion = Criterion("operational.runbooks", "Runbooks", "person", checks=("test_runbooks",))
    answer = SignOff("operational.runbooks", "Ana", LATER, f"{TODAY}").evidence()

    def status(*rows: Evidence) -> tuple[Status, str]:
        finding = judge([criterion], rows, [], Profile.SMOKE, Level.LAB_UPSTREAM, TODAY).findings[0]
        return finding.status, finding.why

    good = Evidence("operational.runbooks", "test_runbooks", Status.PASS, samples=5)
    bad = Evidence("operational.runbooks", "test_runbooks", Status.FAIL, samples=5, why="no such verb")
    assert status(good, answer)[0] is Status.PASS
    assert status(answer, good)[0] is Status.PASS
    assert status(good)[0] is Status.MANUAL
    assert status(bad, answer) == (
        Status.FAIL,
        f"no such verb; signed off by Ana until {LATER}",
    )
    assert status(answer)[0] is Status.INCONCLUSIVE


def test_a_pass_where_it_cannot_be_shown_is_only_a_mechanism():
    criterion = Criterion("cutover.gpu", "GPU", "suite", shown_at=frozenset({Level.HOSTS}))
    row = Evidence("cutover.gpu", "test_gpu", Status.PASS, samples=1)
    for level, status in ((Level.LAB_UPSTREAM, Status.INCONCLUSIVE), (Level.HOSTS, Status.PASS)):
        finding = judge([criterion], [row], [], Profile.SMOKE, level, TODAY).findings[0]
        assert finding.status is status
        assert ("simulated: mechanism shown" in finding.why) is (status is Status.INCONCLUSIVE)
    failed = Evidence("cutover.gpu", "test_gpu", Status.FAIL, samples=1)
    finding = judge([criterion], [failed], [], Profile.SMOKE, Level.LAB_UPSTREAM, TODAY).findings[0]
    assert finding.status is Status.FAIL


def test_the_command_line_signs_in_the_working_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "gonogo.py"), "signoff", TRAINING, "--by", "Ana", "--until", LATER],
        capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "signoffs.yaml\n"), done.stderr
    assert read_signoffs(tmp_path / "signoffs.yaml")[0].by == "Ana"
