"""The cutover rehearsed: traffic shifted step by step, gates, the way back, data, and the report of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reports.model import Status

if TYPE_CHECKING:
    from fixtures.cutover import Cutover
    from fixtures.record import Record

pytestmark = [pytest.mark.nightly, pytest.mark.disruptive]


@pytest.mark.criterion("phase3.blue_green")
def test_traffic_is_shifted_and_nothing_is_lost(cutover: Cutover, record: Record) -> None:
    _hold(cutover, record, "phase3.blue_green")


@pytest.mark.criterion("phase3.gates")
def test_gates_pass_a_good_shift_and_stop_a_spoiled_one(cutover: Cutover, record: Record) -> None:
    _hold(cutover, record, "phase3.gates")


@pytest.mark.criterion("phase3.way_back")
def test_there_is_a_way_back_from_each_step(cutover: Cutover, record: Record) -> None:
    _hold(cutover, record, "phase3.way_back")


@pytest.mark.criterion("rollback.traffic")
def test_traffic_is_back_in_time(cutover: Cutover, record: Record) -> None:
    _hold(cutover, record, "rollback.traffic")


@pytest.mark.criterion("rollback.data")
def test_what_was_written_meanwhile_is_kept(cutover: Cutover, record: Record) -> None:
    _hold(cutover, record, "rollback.data")


@pytest.mark.criterion("rollback.post_mortem")
def test_the_post_mortem_says_what_happened(cutover: Cutover, record: Record) -> None:
    _hold(cutover, record, "rollback.post_mortem")


def _hold(cutover: Cutover, record: Record, criterion: str) -> None:
    found = cutover.finding(criterion)
    record(observed=found.observed, unit=found.unit, samples=found.samples, why=found.why)
    if found.status is Status.INCONCLUSIVE:
        record.inconclusive(found.why)
    assert found.status is not Status.FAIL, found.why
