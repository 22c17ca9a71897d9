"""The judge: a GO needs positive evidence for every blocking criterion; nothing else makes one."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.judge import judge, worst
from reports.limits import breaks, to_unit
from reports.model import Criterion, Decision, Evidence, Level, Limit, Profile, Status, Verdict, Waiver

if TYPE_CHECKING:
    from collections.abc import Sequence

TODAY = date(2026, 11, 24)
EVERYWHERE = frozenset((profile, level) for profile in Profile for level in Level)


def criterion(
    ident: str = "a.one",
    checks: Sequence[str] = ("test_one",),
    owner: str = "suite",
    limit: Limit | None = None,
    blocking: frozenset[tuple[Profile, Level]] = EVERYWHERE,
) -> Criterion:
    return Criterion(ident, ident.title(), owner, limit, blocking, checks=tuple(checks))


def seen(
    status: Status = Status.PASS,
    check: str = "test_one",
    ident: str = "a.one",
    samples: int = 1,
    **fields: Any,
) -> Evidence:
    return Evidence(ident, check, status, samples=samples, **fields)


def decide(
    evidence: Sequence[Evidence],
    criteria: Sequence[Criterion] = (),
    waivers: Sequence[Waiver] = (),
    level: Level = Level.LAB_UPSTREAM,
    doubts: Sequence[str] = (),
) -> Verdict:
    return judge(criteria or [criterion()], evidence, waivers, Profile.SMOKE, level, TODAY, doubts=doubts)


def test_a_pass_that_saw_something_is_go():
    verdict = decide([seen()])
    assert verdict.decision is Decision.GO
    assert verdict.exit_code == 0
    assert verdict.headline == "GO (smoke, lab-upstream): 1 of 1 blocking criteria shown"
    assert verdict.findings[0].evidence == (1,)


def test_a_failure_is_no_go_and_says_where():
    rows = [seen(side="swarm"), seen(Status.FAIL, side="kubernetes", why="github-v2 refused")]
    verdict = decide(rows)
    assert verdict.decision is Decision.NO_GO
    assert verdict.exit_code == 1
    assert verdict.reasons[0] == "a.one FAIL: kubernetes: github-v2 refused"
    assert "failed: a.one" in verdict.headline


@pytest.mark.parametrize(
    "row",
    [
        seen(samples=0),
        seen(observed=float("nan")),
        seen(observed="nan"),
        seen(observed=float("inf")),
        seen(Status.INCONCLUSIVE, why="no data"),
        seen(Status.INVALID, why="generator was killed"),
        seen(Status.NOT_RUN, why="skipped"),
        seen(Status.MANUAL),
        seen(side="swarm"),
        seen(attempt=2),
        seen(check="test_other"),
    ],
    ids=lambda row: f"{row.status}-{row.samples}-{row.observed}-{row.side}-{row.attempt}-{row.check}",
)
def test_nothing_less_than_a_seen_pass_is_go(row):
    verdict = decide([row])
    assert verdict.decision is Decision.INCONCLUSIVE
    assert verdict.exit_code == 3
    assert verdict.findings[0].why


def test_no_evidence_is_a_gap_with_the_checks_named():
    verdict = decide([], [criterion(checks=[f"test_{n}" for n in range(7)])])
    assert verdict.findings[0].status is Status.INCONCLUSIVE
    assert "test_0, test_1, test_2, test_3, test_4 and 2 more" in verdict.findings[0].why


def test_one_missing_check_of_two_is_a_gap():
    verdict = decide([seen()], [criterion(checks=["test_one", "test_two"])])
    assert verdict.decision is Decision.INCONCLUSIVE
    assert "test_two" in verdict.findings[0].why


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (criterion(checks=(), owner="uncovered"), "no check covers it yet"),
        (criterion(checks=()), "its suite did not run"),
        (
            Criterion("a.one", "t", "suite", profiles=frozenset({Profile.CUTOVER})),
            "not part of profile smoke",
        ),
        (Criterion("a.one", "t", "suite", shown_at=frozenset({Level.HOSTS})), "needs hosts"),
    ],
)
def test_what_did_not_run_says_why(one, why):
    finding = decide([], [one, criterion("b.two", ["test_two"])]).findings[0]
    assert finding.status is Status.NOT_RUN
    assert why in finding.why


def test_not_blocking_is_shown_and_not_counted():
    advisory = criterion("b.two", ["test_two"], blocking=frozenset())
    verdict = decide([seen(), seen(Status.FAIL, "test_two", "b.two")], [criterion(), advisory])
    assert verdict.decision is Decision.GO
    assert verdict.findings[1].status is Status.FAIL


def test_nothing_that_blocks_is_no_go_at_all():
    verdict = decide([seen()], [criterion(blocking=frozenset())])
    assert verdict.decision is Decision.INCONCLUSIVE
    assert "no criterion blocks" in verdict.headline


@pytest.mark.parametrize(("status", "decision"), [(Status.PASS, "INCONCLUSIVE"), (Status.FAIL, "NO-GO")])
def test_a_stub_is_never_go(status, decision):
    verdict = decide([seen(status)], level=Level.STUB)
    assert verdict.decision == decision
    assert any("stub" in reason for reason in verdict.reasons)


def test_a_doubt_about_the_run_stops_a_go():
    verdict = decide([seen()], doubts=["this run was interrupted: SIGINT"])
    assert verdict.decision is Decision.INCONCLUSIVE
    assert "interrupted" in verdict.headline


@pytest.mark.parametrize(("first", "second"), [(Status.FAIL, Status.PASS), (Status.PASS, Status.FAIL)])
def test_the_first_attempt_decides_and_the_other_is_shown(first, second):
    verdict = decide([seen(second, attempt=2), seen(first, attempt=1)])
    assert verdict.findings[0].status is first
    assert f"flaky: test_one was {first} first and {second} later" in verdict.findings[0].why


def test_an_observation_that_breaks_its_limit_is_a_failure_whatever_the_check_said():
    one = criterion(limit=Limit("<", 10, "ms"))
    finding = decide([seen(observed=9.0, unit="ms"), seen(observed=0.012, unit="s")], [one]).findings[0]
    assert finding.status is Status.FAIL
    assert (finding.observed, finding.unit) == (12.0, "ms")
    assert "limit < 10 ms" in finding.why


def test_the_worst_observation_is_shown_in_the_unit_of_the_limit():
    rows = [seen(observed=value, unit="servers") for value in (16, 15, 17)]
    finding = decide(rows, [criterion(limit=Limit("==", 16, "servers"))]).findings[0]
    assert finding.status is Status.FAIL
    assert finding.observed in {15, 17}
    assert finding.samples == 3


def test_evidence_for_no_criterion_is_a_doubt():
    verdict = decide([seen(), seen(ident="b.ghost")])
    assert verdict.decision is Decision.INCONCLUSIVE
    assert any("b.ghost" in reason for reason in verdict.reasons)


def test_a_waived_failure_stays_a_failure_and_does_not_block():
    rows = [seen(Status.FAIL), seen(check="test_two", ident="b.two")]
    criteria = [criterion(), criterion("b.two", ["test_two"])]
    verdict = decide(rows, criteria, [Waiver("a.one", "Ana", "moves next week", "2026-11-24")])
    assert verdict.decision is Decision.GO
    assert verdict.headline.endswith("1 of 2 blocking criteria shown; waived: a.one")
    assert verdict.findings[0].status is Status.FAIL
    assert verdict.findings[0].waived


@pytest.mark.parametrize(
    ("waiver", "said"),
    [
        (Waiver("a.one", "Ana", "late", "2026-11-23"), "stale: it ended on 2026-11-23"),
        (Waiver("a.one", "Ana", "late", "soon"), "is no date"),
        (Waiver("a.one", " ", "late", "2027-01-01"), "needs a name and a reason"),
        (Waiver("a.one", "Ana", "", "2027-01-01"), "needs a name and a reason"),
        (Waiver("a.typo", "Ana", "late", "2027-01-01"), "no criterion of this run"),
    ],
)
def test_a_waiver_that_does_not_hold_changes_nothing_and_is_said(waiver, said):
    verdict = decide([seen(Status.FAIL)], waivers=[waiver])
    assert verdict.decision is Decision.NO_GO
    assert any(said in reason for reason in verdict.reasons)


def test_only_a_failure_can_be_waived():
    verdict = decide([seen(Status.INVALID)], waivers=[Waiver("a.one", "Ana", "late", "2027-01-01")])
    assert verdict.decision is Decision.INCONCLUSIVE
    assert any("only a FAIL is waived" in reason for reason in verdict.reasons)


def signed(**data: str) -> Evidence:
    return seen(check="signoff::a.one", data=data)


@pytest.mark.parametrize(
    ("rows", "status", "said"),
    [
        ([], Status.MANUAL, "gonogo signoff a.one --by NAME --until DATE"),
        ([signed(by="Ana", until="2026-11-24")], Status.PASS, "signed off by Ana until 2026-11-24"),
        ([signed(by="Ana", until="2026-11-23")], Status.MANUAL, "ended on 2026-11-23"),
        ([signed(by="", until="2027-01-01")], Status.MANUAL, "without a name"),
        ([signed(by="Ana")], Status.MANUAL, "without a name"),
        ([signed(by="Ana", until="2027-01-01"), seen(Status.FAIL, why="no")], Status.FAIL, "no"),
    ],
)
def test_a_person_answers_by_name_and_for_a_time(rows, status, said):
    finding = decide(rows, [criterion(owner="person", checks=())]).findings[0]
    assert finding.status is status
    assert said in finding.why


def test_worst_is_pessimistic():
    assert worst([Status.PASS, Status.INCONCLUSIVE, Status.FAIL]) is Status.FAIL
    assert worst([Status.PASS, Status.INVALID, Status.INCONCLUSIVE]) is Status.INVALID
    assert worst([]) is Status.NOT_RUN


def test_limits_know_units_of_time_and_nothing_else():
    assert to_unit(90, "s", "min") == 1.5
    assert to_unit(1, "ms", "servers") is None
    assert to_unit(True, "ms", "ms") is None  # noqa: FBT003 - a flag is no number
    assert not breaks(Limit("<", 5, "min"), 299, "s")
    assert breaks(Limit("<", 5, "min"), 300, "s")
    assert not breaks(Limit("<", 5, "min"), "soon", "min")


statuses = st.sampled_from(list(Status))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.builds(
            lambda status, check, side, samples, attempt: seen(
                status, f"test_{check}", side=side, samples=samples, attempt=attempt
            ),
            statuses,
            st.integers(0, 2),
            st.sampled_from(["swarm", "kubernetes", "both"]),
            st.integers(0, 2),
            st.integers(1, 2),
        ),
        max_size=8,
    )
)
def test_go_always_rests_on_a_first_pass_of_every_check(rows):
    verdict = decide(rows, [criterion(checks=["test_0", "test_1"])])
    if verdict.decision is Decision.GO:
        for check in ("test_0", "test_1"):
            firsts = [row for row in rows if row.check == check and row.attempt == 1]
            assert firsts
            assert all(row.status is Status.PASS and row.samples for row in firsts)
    if any(row.status is Status.FAIL and row.attempt == 1 for row in rows):
        assert verdict.decision is Decision.NO_GO


@pytest.mark.parametrize(
    ("proof", "blocks", "status", "expected"),
    [
        ("", True, Status.PASS, Status.INCONCLUSIVE),
        ("", True, Status.FAIL, Status.FAIL),  # it is red now
        ("", False, Status.PASS, Status.PASS),
        ("server:x at level stub", True, Status.PASS, Status.PASS),
        (None, True, Status.PASS, Status.PASS),  # a run from before proofs were asked for
    ],
)
def test_a_blocking_pass_that_was_never_seen_red_is_not_counted(proof, blocks, status, expected):
    one = replace(criterion(blocking=EVERYWHERE if blocks else frozenset()), red_proof=proof)
    finding = decide([seen(status)], [one]).findings[0]
    assert finding.status is expected
    assert finding.why.startswith("never seen red") is (expected is Status.INCONCLUSIVE)
