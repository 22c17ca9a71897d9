"""Whole rehearsals against real small servers: one that is well, and each way in which one is not.

Latencies of these servers are mostly sleep and margins are wide, for a busy machine runs these tests; what
the gates tell apart with the margins that count is in test_cutover_gate.py.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from fixtures.cutover import Cutover, kept_findings
from fixtures.cutover_rehearsal import Rehearsal
from fixtures.cutover_report import DATA_NAME, NAME
from fixtures.cutover_seen import Course
from fixtures.faults.journal import Journal
from provisioners.errors import ProvisionError
from reports.model import Status
from tests.cutover_server import two_sides
from tests.test_cutover_proxy import Notes
from verbs.cutover import gate_rule

if TYPE_CHECKING:
    from fixtures.cutover_entry import Door
    from fixtures.cutover_findings import Found
    from fixtures.cutover_gate import Rule
    from fixtures.cutover_seen import Rehearsed

pytestmark = pytest.mark.live

COURSE = Course(
    steps=(50.0, 100.0),
    rate_per_s=60.0,
    hold_s=2.0,
    bound_s=40.0,
    look_s=1.0,
    quantiles=(0.5,),
    quiet_s=1.0,
    drain_s=1.0,
    sessions=2,
    by="A Person",
)
RULE = gate_rule(0.25, error_margin=0.05)


def rehearse(
    doors: list[Door], course: Course = COURSE, rule: Rule = RULE, **behaviour: bool
) -> tuple[Rehearsed, dict[str, Found], dict[str, str]]:
    """Rehearse; return what was seen, its findings by criterion, and the files that were kept."""
    notes = Notes()
    kept: dict[str, str] = {}
    seen = Rehearsal(doors, course, rule, Journal(notes), behaviour=behaviour).run()
    found = {one.criterion: one for one in kept_findings(seen, kept.__setitem__)}
    assert not notes.open(), "what was begun is undone"
    return seen, found, kept


def test_a_good_cutover_passes_and_is_written_down():
    with two_sides() as (swarm, kubernetes, doors):
        seen, found, kept = rehearse(doors)
        assert {name: one.status for name, one in found.items()} == dict.fromkeys(found, Status.PASS), found
        assert seen.complete
        assert seen.lost_count == 0
        assert seen.data.missing_before, "both sides have stores of their own"
        assert len(swarm.items) == len(kubernetes.items) == COURSE.items
    assert set(kept) == {DATA_NAME, NAME}
    assert "A Person" in kept[NAME]
    assert seen.control is not None
    assert seen.control.stopped_by == "errors"


def test_sessions_that_servers_keep_survive_the_shift():
    course = Course(**{**_fields(COURSE), "quantiles": (), "control": False, "rate_per_s": 100.0})
    with two_sides(sessions=True) as (_, _, doors):
        seen, found, _ = rehearse(doors, course)
    undecided = [one.why for step in seen.steps for one in step.gates if not one.passed]
    assert seen.complete, (undecided, seen.lost, [step.client_failures for step in seen.steps])
    assert seen.session_ids > 0
    assert {one.opened_at for one in seen.sessions} == {"0 %", "50 %"}
    assert not any(one.lost or one.errors for one in seen.sessions), seen.sessions
    assert found["phase3.blue_green"].status is Status.PASS, found


@pytest.mark.parametrize("how", ["an entry that knows no sessions", "a side that forgets them"])
def test_lost_sessions_stop_the_shift(how):
    course = Course(**{**_fields(COURSE), "quantiles": (), "control": False, "rate_per_s": 100.0})
    with two_sides(sessions=True) as (_, kubernetes, doors):
        kubernetes.forgetful = how == "a side that forgets them"
        seen, found, _ = rehearse(doors, course, sticky=kubernetes.forgetful)
    assert not seen.complete
    assert {"sessions", "errors"} & set(seen.stopped_by.split(", ")), seen.stopped_by
    assert found["phase3.gates"].status is Status.FAIL, found["phase3.gates"]
    assert found["phase3.blue_green"].status is Status.FAIL


def test_a_side_with_errors_is_stopped_and_everything_goes_back():
    with two_sides() as (_, kubernetes, doors):
        kubernetes.failing = 8
        seen, found, _ = rehearse(doors)
    assert seen.stopped_by == "errors"
    assert [one.percent for one in seen.steps] == [50.0]
    assert [one.back_s is not None for one in seen.backs] == [True]
    assert found["phase3.gates"].status is Status.FAIL
    assert "errors" in found["phase3.gates"].why
    assert found["phase3.blue_green"].status is Status.FAIL
    assert found["phase3.blue_green"].observed


def test_two_percent_of_errors_are_stopped_by_the_margin_that_counts():
    course = Course(
        **{**_fields(COURSE), "quantiles": (), "rate_per_s": 150.0, "bound_s": 90.0, "hold_s": 60.0}
    )
    with two_sides() as (_, kubernetes, doors):
        kubernetes.failing = 50
        seen, found, _ = rehearse(doors, course, gate_rule())
    assert seen.stopped_by == "errors", seen.steps
    assert found["phase3.gates"].status is Status.FAIL


def test_a_slow_side_is_stopped():
    with two_sides() as (_, kubernetes, doors):
        kubernetes.slower = 2.0
        seen, found, _ = rehearse(doors, Course(**{**_fields(COURSE), "control": False}))
    assert seen.stopped_by == "p50", seen.steps
    assert found["phase3.gates"].status is Status.FAIL
    assert found["phase3.blue_green"].status is Status.FAIL


def test_a_side_that_dies_is_stopped_and_the_way_back_is_timed():
    with two_sides() as (_, kubernetes, doors):
        kubernetes.dies_after = 60
        seen, found, _ = rehearse(doors)
    assert "errors" in seen.stopped_by
    assert found["phase3.blue_green"].status is Status.FAIL
    assert found["phase3.blue_green"].observed
    back = seen.backs[-1]
    assert back.back_s is not None
    assert back.answered_after > 0


def test_weights_that_do_not_hold_are_seen():
    with two_sides() as (_, _, doors):
        seen, found, _ = rehearse(doors, frozen=True)
    assert "share" in seen.stopped_by
    assert found["phase3.gates"].status is Status.FAIL
    assert "0 of" in found["phase3.gates"].why


def test_an_entry_that_does_not_go_back_is_red():
    course = Course(**{**_fields(COURSE), "quantiles": (), "control": False, "back_bound_s": 5.0})
    with two_sides() as (_, _, doors):
        seen, found, kept = rehearse(doors, course, clinging=True)
    assert seen.stopped_by == "way back", [one.why for one in seen.steps[-1].gates]
    assert found["phase3.way_back"].status is Status.FAIL, found["phase3.way_back"]
    assert found["rollback.traffic"].status is Status.FAIL
    assert "never" in kept[NAME]


def test_a_copy_that_loses_items_is_red():
    with two_sides() as (swarm, _, doors):
        swarm.loses_writes = True
        _, found, kept = rehearse(doors, Course(**{**_fields(COURSE), "quantiles": (), "control": False}))
    assert found["rollback.data"].status is Status.FAIL, found["rollback.data"]
    assert found["rollback.data"].observed == COURSE.items
    assert "lost: snowflake-unified: gonogo-cutover-0" in kept[NAME]


def test_nothing_is_shifted_where_swarm_itself_is_not_well():
    notes = Notes()
    with two_sides() as (swarm, _, doors):
        swarm.failing = 3
        with pytest.raises(ProvisionError, match="Swarm is not well"):
            Rehearsal(doors, COURSE, RULE, Journal(notes)).run()
    assert not notes.open()


def test_an_interrupt_takes_the_shift_back():
    notes = Notes()

    class Stop(KeyboardInterrupt):
        pass

    def say(text):
        if text.startswith("50 % to Kubernetes"):
            raise Stop

    with two_sides() as (_, _, doors), pytest.raises(Stop):
        Rehearsal(doors, COURSE, RULE, Journal(notes), say).run()
    assert len(notes.undone) >= 4
    assert not notes.open()
    deadline = time.monotonic() + 10
    while (
        any(one.name.startswith("session ") for one in threading.enumerate()) and time.monotonic() < deadline
    ):
        time.sleep(0.1)
    assert not any(one.name.startswith("session ") for one in threading.enumerate())


def test_checks_share_one_rehearsal_and_a_refusal_is_told_to_each():
    runs = []

    def refused():
        runs.append(1)
        raise ProvisionError("Swarm is not well")

    cutover = Cutover(refused, lambda *_: None)
    for _ in range(3):
        with pytest.raises(ProvisionError, match="not well"):
            cutover.finding("rollback.data")
    assert len(runs) == 1


def _fields(course: Course) -> dict[str, Any]:
    return {name: getattr(course, name) for name in course.__dataclass_fields__}
