"""How a wait stands is told when it changes, and ready means ready for good."""

from provisioners.base import ServiceFailure
from provisioners.tally import SETTLE_S, Tally


class Clock:
    """Time that moves when it is told to."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def tally() -> tuple[Tally, Clock, list[str]]:
    clock = Clock()
    said: list[str] = []
    return Tally(("a", "b", "c", "d", "e"), said.append, now=clock), clock, said


def test_what_a_check_vouches_for_is_ready_at_once():
    made, _, _ = tally()
    assert made.settled("a", ready=True, proven=True)
    assert not made.settled("a", ready=False, proven=True)


def test_what_no_check_vouches_for_must_stay_ready_without_a_break():
    made, clock, _ = tally()
    assert not made.settled("a", ready=True, proven=False)
    clock.seconds += SETTLE_S - 0.1
    assert not made.settled("a", ready=False, proven=False)
    assert not made.settled("a", ready=True, proven=False)
    clock.seconds += SETTLE_S
    assert made.settled("a", ready=True, proven=False)


def test_the_same_state_is_told_once_and_again_when_its_details_are_old():
    made, clock, said = tally()
    made.tell({"a": "x"}, {})
    made.tell({"a": "y"}, {})
    assert said == ["4 of 5 ready; waiting for a (x)"]
    clock.seconds += 6
    made.tell({"a": "y"}, {})
    assert said[-1] == "4 of 5 ready; waiting for a (y)"


def test_failures_and_long_lists_are_told_in_short():
    made, _, said = tally()
    made.tell({"a": "1", "b": "2", "c": "3", "d": "4"}, {"e": "gone"})
    assert said == ["0 of 5 ready, 1 failed; waiting for a (1), b (2), c (3) and 1 more"]


def test_who_is_late_has_failed_and_who_has_not_failed_is_ready():
    made, clock, _ = tally()
    clock.seconds += 7
    assert made.late({"a": "a node"}) == {"a": "not ready after 7 s: waiting for a node"}
    readiness = made.readiness((ServiceFailure("a", "why"),), 7.0)
    assert readiness.ready == ("b", "c", "d", "e")
