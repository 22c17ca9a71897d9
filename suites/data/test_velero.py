"""Velero saves the data of volumes, not only objects: deleted, restored under another name, compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fixtures.backup_velero import VeleroDrill
    from fixtures.record import Record


@pytest.mark.nightly
@pytest.mark.disruptive
@pytest.mark.criterion("phase4.velero")
def test_a_volume_comes_back(velero_drill: VeleroDrill, record: Record) -> None:
    seen = velero_drill.run()
    record(
        observed=0.0 if seen.lacking else 100.0,
        unit="%",
        # A Velero that lacks its bucket or node agent was looked at, and seen wrong.
        samples=max(seen.compared, len(seen.lacking)),
        volumes_saved=seen.volumes_saved,
        backup_s=_rounded(seen.backup_s),
        rto_s=_rounded(seen.rto_s),
        lacking=list(seen.lacking[:50]),
    )
    assert not seen.lacking, "; ".join(seen.lacking[:10])
    assert seen.compared, "nothing was compared"
    assert seen.control, "control: a file that differs was taken for the same"


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
