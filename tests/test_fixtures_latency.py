"""fixtures.latency: a slow pair is slow, a busy machine is no slow network, a fast pair is always fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from fixtures.latency import TRIES, Latency, Measured, Pair
from loadtests.summarize import quantile
from provisioners.base import Replica, Side

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioners.base import Target

LIMIT_MS = 10.0
COUNT = 12
HERE = Replica("a", "net-probe", "node1", "10.0.0.1", ready=True)
PAIR = Pair("node1 to node2", HERE, "10.0.0.2", controls=(HERE,))


class Plain:
    side = Side.SWARM


class Eyes:
    """Answers each measurement of the pair, and of its control, from a list; the last one for ever."""

    def __init__(self, pair: list[float], control: list[float | None]) -> None:
        self.left: dict[str, list[float | None]] = {"10.0.0.2": [*pair], "127.0.0.1": control}

    def __call__(
        self, target: Target, replica: Replica, argv: Sequence[str], timeout_s: float = 30.0
    ) -> Mapping[str, Any]:
        del target, replica, timeout_s
        answers = self.left[argv[1]]
        rtt = answers.pop(0) if len(answers) > 1 else answers[0]
        if rtt is None:
            return {"ok": False, "error": "ConnectionRefusedError"}
        warm_up = int(argv[argv.index("--count") + 1]) - COUNT
        return {"ok": True, "rtt_ms": [500.0] * warm_up + [rtt] * COUNT}


def measured(pair: list[float], control: list[float | None]) -> Measured:
    eyes = Eyes(pair, control)
    return Latency(eyes, quantile, COUNT, lambda _: None).measure(cast("Target", Plain()), PAIR, LIMIT_MS)


def test_fast_pair_needs_no_quiet_machine() -> None:
    one = measured([1.0], [50.0])
    assert (one.p99_ms, one.tries, one.believable) == (1.0, 1, True)


def test_slow_pair_beside_a_quiet_control_is_slow_at_once() -> None:
    one = measured([25.0], [0.1])
    assert (one.p99_ms, one.tries, one.believable) == (25.0, 1, True)


def test_slow_pair_on_a_busy_machine_is_measured_again() -> None:
    one = measured([25.0, 30.0, 1.0], [20.0, 20.0, 0.1])
    assert (one.p99_ms, one.tries, one.believable) == (1.0, 3, True)


def test_slow_pair_is_found_slow_once_the_machine_is_quiet() -> None:
    one = measured([25.0], [20.0, 0.1])
    assert (one.p99_ms, one.tries, one.believable) == (25.0, 2, True)


def test_machine_that_stays_busy_cannot_tell() -> None:
    one = measured([25.0], [20.0])
    assert (one.tries, one.believable) == (TRIES, False)


def test_without_a_control_there_is_no_excuse() -> None:
    one = measured([25.0], [None])
    assert (one.tries, one.control_p99_ms, one.believable) == (1, None, True)


def test_pair_that_does_not_answer_is_a_finding() -> None:
    with pytest.raises(AssertionError, match="node1 to node2: ConnectionRefusedError"):
        measured(cast("list[float]", [None]), [0.1])


def test_warm_up_is_left_out_and_not_counted() -> None:
    assert measured([1.0], [0.1]).rtt_ms == (1.0,) * COUNT


class Bursts(Eyes):
    """Holds `slow` round trips of 15 ms in each of its rounds, the rest are fast; controls are quiet."""

    def __init__(self, *slow: int) -> None:
        self.slow = list(slow)

    def __call__(
        self, target: Target, replica: Replica, argv: Sequence[str], timeout_s: float = 30.0
    ) -> Mapping[str, Any]:
        del target, replica, timeout_s
        count = int(argv[argv.index("--count") + 1])
        if argv[1] == "127.0.0.1":
            return {"ok": True, "rtt_ms": [0.1] * count}
        slow = self.slow.pop(0)
        return {"ok": True, "rtt_ms": [0.2] * (count - slow) + [15.0] * slow}


def bursts(*slow: int) -> Measured:
    return Latency(Bursts(*slow), quantile, 300, lambda _: None).measure(
        cast("Target", Plain()), PAIR, LIMIT_MS
    )


def test_one_burst_is_judged_with_more_round_trips_and_none_is_left_out() -> None:
    one = bursts(5, 0)
    assert one.p99_ms < LIMIT_MS
    assert (one.tries, len(one.rtt_ms), sum(rtt > LIMIT_MS for rtt in one.rtt_ms)) == (2, 600, 5)


def test_bursts_that_come_back_are_a_slow_network() -> None:
    one = bursts(5, 5, 5, 5, 5)
    assert one.believable
    assert one.p99_ms >= LIMIT_MS


def test_busy_far_end_is_no_slow_network() -> None:
    there = Replica("b", "net-probe", "node2", "10.0.0.2", ready=True)
    pair = Pair("node1 to node2", HERE, "10.0.0.2", controls=(HERE, there))

    def look(
        target: Target, replica: Replica, argv: Sequence[str], timeout_s: float = 30.0
    ) -> Mapping[str, Any]:
        del target, timeout_s
        rtt = 25.0 if argv[1] != "127.0.0.1" or replica is there else 0.1
        return {"ok": True, "rtt_ms": [rtt] * 60}

    one = Latency(look, quantile, COUNT, lambda _: None).measure(cast("Target", Plain()), pair, LIMIT_MS)
    assert (one.believable, one.control_p99_ms) == (False, 25.0)
