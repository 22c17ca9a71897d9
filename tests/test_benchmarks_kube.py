"""The benchmarks of lists and watches: what is judged otherwise, or never seen, gives no number."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.common import ToolFailed
from benchmarks.pods import Contest
from benchmarks.pods_client import word
from benchmarks.pods_input import IMAGE, plan
from benchmarks.watch_lag import Sightings, quantile

PLANNED = plan(50)
JUDGED = {name: fault for name, fault in PLANNED.items() if fault} | {
    "": str(sum(not fault for fault in PLANNED.values()))
}
SOUND = {
    "deleting": False, "failed": "", "node": "n", "message": "", "waiting": "", "containers": 1,
    "ready": True, "image": IMAGE,
}  # fmt: skip


def test_exactly_the_planted_faults_are_accepted():
    Contest(Path(), PLANNED).check("x", JUDGED)


@pytest.mark.parametrize("change", ["missed", "other", "invented", "short"])
def test_a_client_that_judges_otherwise_gives_no_number(change):
    judged = dict(JUDGED)
    name = next(name for name in judged if name)
    if change == "missed":
        del judged[name]
    elif change == "other":
        judged[name] = "Sunburnt"
    elif change == "invented":
        judged[next(name for name, fault in PLANNED.items() if not fault)] = "not ready"
    else:
        judged[""] = "1"
    with pytest.raises(ToolFailed, match="x judged 1 pods otherwise"):
        Contest(Path(), PLANNED).check("x", judged)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"deleting": True, "ready": False}, "deleting"),
        ({"failed": "Evicted", "containers": 0}, "Evicted"),
        ({"node": "", "message": "no room"}, "unschedulable"),
        ({"containers": 0}, "no container yet"),
        ({"waiting": "CrashLoopBackOff", "ready": False}, "CrashLoopBackOff"),
        ({"ready": False}, "not ready"),
        ({"image": "other"}, "wrong image"),
    ],
)
def test_the_first_trouble_of_a_pod_is_named(change, said):
    assert word(**{**SOUND, **change}) == said


def test_a_change_that_is_never_seen_gives_no_number():
    sightings = Sightings()
    sightings.sent, sightings.answered = {1: 0.0, 2: 0.0}, {1: 0.0, 2: 0.0}
    sightings.look(1)
    with pytest.raises(ToolFailed, match="1 of 2 changes were never seen"):
        sightings.lags_ms()
    sightings.look(2)
    assert len(sightings.lags_ms()) == 2


def test_whoever_sees_a_later_change_has_seen_those_before():
    sightings = Sightings()
    sightings.look(3)
    sightings.look(2)
    assert set(sightings.seen) == {1, 2, 3}
    assert len(set(sightings.seen.values())) == 1


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_a_quantile_is_a_value_that_was_measured(share, value):
    assert quantile(range(1, 101), share) == value
