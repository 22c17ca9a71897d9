"""The data suites on the no-op twin, which holds no data: no check of theirs passes, and none is skipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reports.model import Status
from tests.noop_run import noop, suites

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.noop

CRITERIA = ("cutover.backup", "technical.backup", "phase3.backup", "phase4.dr", "phase4.velero")


def test_where_there_is_nothing_to_see_nothing_passes(tmp_path: Path) -> None:
    with noop(tmp_path) as store:
        seen = suites(store, "suites/data", "--gonogo-profile", "nightly")
        smoke = suites(store, "suites/data", "--gonogo-profile", "smoke")
    for criterion in CRITERIA:
        rows = seen.rows(criterion)
        assert rows, criterion
        assert {row.status for row in rows} == {Status.INCONCLUSIVE}, (criterion, seen.output[-2_000:])
        assert all(row.why for row in rows)
    whys = " ".join(row.why for row in seen.evidence)
    for why in ("the no-op target holds no data", "storage-s3 is not there", "no Velero"):
        assert why in whys
    assert not smoke.evidence, "a data check runs in profile smoke"
