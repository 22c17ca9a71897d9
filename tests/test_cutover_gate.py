"""The gates, the findings and the post-mortem of a rehearsal, from rows that are known."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from fixtures.cutover import parse_steps
from fixtures.cutover_findings import CRITERIA, Found, findings
from fixtures.cutover_gate import (
    askable,
    counts_of,
    decided,
    generator_gate,
    session_gate,
    share_gate,
    windows_of,
)
from fixtures.cutover_report import SECTIONS, lacking, post_mortem
from fixtures.cutover_row import CLIENT, CONTROL, KUBERNETES, STATUS, STICKY, SWARM, Row, RowReader
from fixtures.cutover_seen import (
    BackSeen,
    Course,
    DataSeen,
    GateValue,
    Moment,
    Rehearsed,
    SessionsSeen,
    StepSeen,
)
from loadtests.summarize import quantile
from provisioners.errors import InputError
from reports.model import Status
from verbs.cutover import gate_rule

RULE = gate_rule()
LOOKS = Course().looks


def row(
    side: str = SWARM,
    *,
    at_ms: float = 0.0,
    took_ms: float = 10.0,
    error: int = 0,
    flags: int = 0,
    epoch: int = 1,
) -> Row:
    start = round(at_ms * 1e6)
    status = 500 if error == STATUS else 200
    return Row(start, start + round(took_ms * 1e6), epoch, status, 0, side, error, flags)


def stream(n: int, percent: float, *, slower: float = 1.0, failing: float = 0.0, seed: int = 1) -> list[Row]:
    """Requests of one step: a fifth is the control stream, latencies are log-normal around 10 ms."""
    draw = random.Random(seed)
    rows = []
    for i in range(n):
        control = i % 5 == 0
        side = KUBERNETES if not control and draw.random() < percent / 100 else SWARM
        factor = slower if side == KUBERNETES else 1.0
        error = STATUS if side == KUBERNETES and draw.random() < failing else 0
        took = 10.0 * factor * draw.lognormvariate(0, 0.2)
        rows.append(row(side, at_ms=i * 6.25, took_ms=took, error=error, flags=CONTROL if control else 0))
    return rows


def gates(rows: list[Row], quantiles: tuple[float, ...] = (0.5, 0.95)) -> dict[str, GateValue]:
    windows = windows_of(rows, quantiles, quantile, lambda *_: 0.0)
    return {one.gate: one for one in RULE(windows, counts_of(rows), quantiles, LOOKS)}


# -- rows --------------------------------------------------------------------------------


def test_a_row_survives_the_log_and_a_cut_row_is_left_out(tmp_path):
    path = tmp_path / "rows.bin"
    first, second = row(KUBERNETES, error=STATUS, flags=STICKY), row(at_ms=5)
    path.write_bytes(first.pack() + second.pack()[:-3])
    reader = RowReader(path)
    assert reader.more() == [first]
    with path.open("ab") as file:
        file.write(second.pack()[-3:])
    assert reader.more() == [second]
    assert reader.more() == []
    assert first.failed
    assert not first.free
    assert not row(error=CLIENT).failed


# -- gates -------------------------------------------------------------------------------


@pytest.mark.parametrize("percent", [5, 25, 50, 100])
def test_a_shift_that_is_well_passes_every_gate(percent):
    rows = stream(20_000, percent)
    assert share_gate(rows, percent).outcome is Status.PASS
    asked = askable(Course(), percent)[0]
    seen = gates(rows, asked)
    assert all(one.passed for one in seen.values()), seen
    shown = {name for name, one in seen.items() if one.outcome is Status.PASS}
    assert shown >= ({"p50", "p95", "errors"} if percent > 5 else {"p50"}), seen


def test_two_percent_of_errors_close_the_gate_at_five_percent_of_traffic():
    seen = gates(stream(14_000, 5, failing=0.02), (0.5,))["errors"]
    assert seen.outcome is Status.FAIL
    assert seen.observed == pytest.approx(2, abs=1.5)


def test_a_side_that_is_half_as_slow_again_closes_the_latency_gates():
    seen = gates(stream(8_000, 25, slower=1.5))
    assert seen["p50"].outcome is Status.FAIL
    assert seen["p50"].observed == pytest.approx(1.5, abs=0.05)
    assert seen["errors"].outcome is not Status.FAIL


def test_too_few_samples_are_never_a_pass():
    rows = stream(300, 5)
    seen = gates(rows)
    assert seen["p50"].outcome is Status.INCONCLUSIVE
    assert seen["p95"].outcome is Status.INCONCLUSIVE
    assert share_gate(rows, 5).outcome is Status.INCONCLUSIVE
    assert seen["errors"].outcome is Status.INCONCLUSIVE
    assert seen["errors"].passed, "not one error: open, until all steps are counted together"
    assert decided([*seen.values()])[0] is Status.INCONCLUSIVE
    assert decided([])[0] is Status.INCONCLUSIVE


def test_a_single_error_among_few_keeps_a_step_undecided():
    rows = [*stream(600, 50), row(KUBERNETES, error=STATUS)]
    seen = gates(rows, ())["errors"]
    assert seen.outcome is Status.INCONCLUSIVE
    assert not seen.passed


@pytest.mark.parametrize(("said", "sent"), [(25, 0), (25, 50), (100, 95), (5, 0), (50, 25)])
def test_weights_that_are_not_obeyed_close_the_gate(said, sent):
    assert share_gate(stream(10_000, sent), said).outcome is Status.FAIL


def test_sessions_and_the_control_stream_say_nothing_of_the_weights():
    rows = [row(SWARM, flags=STICKY) for _ in range(2_000)] + [row(KUBERNETES) for _ in range(50)]
    assert share_gate(rows, 100).outcome is Status.PASS
    assert share_gate([row(SWARM, flags=CONTROL)], 100).outcome is Status.INCONCLUSIVE


def test_a_lost_session_closes_the_gate_and_none_at_all_leaves_it_undecided():
    good = SessionsSeen("0 %", 6, 40, 0, 0)
    assert session_gate([good]).outcome is Status.PASS
    lost = SessionsSeen("25 %", 6, 40, 9, 1, ("no session",))
    assert session_gate([good, lost]).outcome is Status.FAIL
    assert "no session" in session_gate([good, lost]).why
    assert session_gate([]).outcome is Status.INCONCLUSIVE


def test_load_that_was_not_sent_is_no_pass():
    assert generator_gate(1_000, 5).outcome is Status.PASS
    assert generator_gate(1_000, 50).outcome is Status.INCONCLUSIVE
    assert generator_gate(0, 0).outcome is Status.INCONCLUSIVE


def test_what_a_share_cannot_show_within_the_bound_is_said_and_not_asked():
    asked, left = askable(Course(), 5)
    assert asked == (0.5,)
    assert "not judged at 5 %" in left["p95"]
    for percent in (25, 50, 100):
        assert askable(Course(), percent) == ((0.5, 0.95), {})


@pytest.mark.parametrize("text", ["", "5,25", "50,25,100", "0,100", "a,100", "25,25,100", "5,150", "nan,100"])
def test_steps_that_are_none_are_refused(text):
    with pytest.raises(InputError, match="no steps"):
        parse_steps(text)


def test_steps_are_read():
    assert parse_steps("5, 25%,100") == (5.0, 25.0, 100.0)


# -- findings and the report -------------------------------------------------------------

PASSED = (
    GateValue("share", Status.PASS, 50.0, "%", 900, "450 of 900"),
    GateValue("errors", Status.PASS, 0.0, "points", 4_000, "none"),
    GateValue("p50", Status.PASS, 1.01, "x Swarm", 900, "+1 %"),
    GateValue("p95", Status.PASS, 1.02, "x Swarm", 900, "+2 %"),
)


def back(percent: float, **more: Any) -> BackSeen:
    usual = BackSeen(percent, "rehearsed", 0.02, 60, 0, 0, 0, "all 60 requests answered by Swarm")
    return replace(usual, **more)


def step(
    percent: float,
    outcome: Status = Status.PASS,
    stopped_by: str = "",
    gates: tuple[GateValue, ...] = PASSED,
    **more: Any,
) -> StepSeen:
    return StepSeen(percent, 12.0, outcome, stopped_by, gates, {}, {}, {}, {}, back(percent, **more))


def rehearsed(**more: Any) -> Rehearsed:
    course = Course(steps=(50.0, 100.0))
    usual = Rehearsed(
        by="A Person",
        started="2030-01-01T00:00:00.000Z",
        ended="2030-01-01T00:05:00.000Z",
        course=course,
        servers=("one",),
        seed=1,
        steps=(step(50.0), step(100.0)),
        total=(PASSED[1],),
        control=step(50.0, Status.FAIL, "errors"),
        data=DataSeen(("one: k-0", "one: k-1"), {"postgres": 2}, ("one: k-0",), (), 1, 0.2, 3.5),
        sessions=(SessionsSeen("0 %", 3, 40, 0, 0),),
        session_ids=3,
        asked=5_000,
        lost={},
        dropped=0,
        timeline=(Moment("2030-01-01T00:00:01.000Z", 1.0, "50 % to Kubernetes"),),
    )
    return replace(usual, **more)


def found(seen: Rehearsed) -> dict[str, Found]:
    text = post_mortem(seen)
    return {one.criterion: one for one in findings(seen, lacking(text, seen))}


def test_a_whole_rehearsal_passes_every_criterion():
    seen = found(rehearsed())
    assert tuple(seen) == CRITERIA
    assert {one.status for one in seen.values()} == {Status.PASS}, seen
    assert all(one.samples > 0 and one.why for one in seen.values())


FAILED = (replace(PASSED[1], outcome=Status.FAIL, why="2 %"),)
UNDECIDED = (replace(PASSED[2], outcome=Status.INCONCLUSIVE, why="too few"),)


@pytest.mark.parametrize(
    ("more", "criterion", "status", "why"),
    [
        ({"lost": {"timeout": 1}}, "phase3.blue_green", Status.FAIL, "1 lost"),
        ({"sessions": (SessionsSeen("0 %", 3, 40, 4, 1),)}, "phase3.blue_green", Status.FAIL, "4 lost"),
        (
            {"steps": (step(50.0, Status.FAIL, "errors", FAILED),), "stopped_by": "errors"},
            "phase3.blue_green",
            Status.FAIL,
            "stopped at 50 % by errors",
        ),
        (
            {"steps": (step(50.0, Status.FAIL, "errors", FAILED),), "stopped_by": "errors"},
            "phase3.gates",
            Status.FAIL,
            "errors at 50 % FAIL",
        ),
        (
            {"steps": (step(50.0, Status.INCONCLUSIVE, "p50", UNDECIDED),), "stopped_by": "p50"},
            "phase3.gates",
            Status.INCONCLUSIVE,
            "p50 at 50 % INCONCLUSIVE",
        ),
        ({"control": None}, "phase3.gates", Status.INCONCLUSIVE, "no spoiled shift"),
        ({"control": step(50.0)}, "phase3.gates", Status.FAIL, "not stopped"),
        ({"total": ()}, "phase3.gates", Status.INCONCLUSIVE, "not judged"),
        (
            {"total": (replace(PASSED[1], outcome=Status.INCONCLUSIVE, open=True),)},
            "phase3.gates",
            Status.INCONCLUSIVE,
            "errors at all steps",
        ),
        (
            {"steps": (step(50.0, gates=PASSED[:3]), step(100.0, gates=PASSED[:3]))},
            "phase3.gates",
            Status.INCONCLUSIVE,
            "p95 was judged at no step",
        ),
        ({"steps": (step(50.0), step(100.0, back_s=None))}, "phase3.way_back", Status.FAIL, ""),
        ({"steps": (step(50.0), step(100.0, back_s=None))}, "rollback.traffic", Status.FAIL, "never"),
        ({"steps": (step(50.0), step(100.0, failed_after=2))}, "rollback.traffic", Status.FAIL, "2 failed"),
        ({"steps": ()}, "phase3.way_back", Status.INCONCLUSIVE, "no way back"),
        ({"data": DataSeen(why="no tool")}, "rollback.data", Status.INCONCLUSIVE, "no tool"),
        (
            {"data": DataSeen(("a", "b"), {"redis": 2}, ("a", "b"), ("b",), 1, 0.1, 2.0)},
            "rollback.data",
            Status.FAIL,
            "lost: b",
        ),
        ({"timeline": ()}, "rollback.post_mortem", Status.FAIL, "nothing was noted"),
        ({"broken": "the load ended"}, "phase3.blue_green", Status.INCONCLUSIVE, "the load ended"),
    ],
)
def test_what_went_wrong_turns_its_criterion_red(more, criterion, status, why):
    seen = found(rehearsed(**more))[criterion]
    assert seen.status is status, seen
    assert why in seen.why


def test_slow_ways_back_are_told_in_minutes_for_the_limit():
    seen = found(rehearsed(steps=(step(50.0), step(100.0, back_s=330.0))))["rollback.traffic"]
    assert (seen.observed, seen.unit) == (5.5, "min")


@pytest.mark.parametrize("title", SECTIONS)
def test_a_post_mortem_without_a_section_is_not_whole(title):
    seen = rehearsed()
    text = post_mortem(seen)
    assert not lacking(text, seen)
    start = text.index(f"\n## {title}\n")
    end = text.find("\n## ", start + 1)
    cut = text[:start] + (text[end:] if end > 0 else "")
    assert f"section {title}" in lacking(cut, seen)


@pytest.mark.parametrize(
    "fact",
    [
        "A Person",
        "50 % to Kubernetes",
        "| p95 at 100 % | PASS | 1.02 |",
        "- from 50 %",
        "one: k-0",
        "2 items",
    ],
)
def test_a_post_mortem_that_leaves_a_fact_out_is_not_whole(fact):
    seen = rehearsed()
    text = post_mortem(seen)
    assert fact in text
    gone = fact if fact != "50 % to Kubernetes" else "2030-01-01T00:00:01.000Z | 1.000"
    assert lacking(text.replace(gone, "x"), seen)
