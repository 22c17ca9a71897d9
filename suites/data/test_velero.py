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
    passed_over = "; ".join(seen.not_saved[:20])
    record(
        observed=0.0 if seen.lacking else 100.0,
        unit="%",
        # A Velero that lacks its bucket or node agent was looked at, and seen wrong.
        samples=max(seen.compared, len(seen.lacking)),
        why=f"Velero cannot save: {passed_over}" if passed_over else "",
        volumes_saved=seen.volumes_saved,
        backup_s=_rounded(seen.backup_s),
        rpo_s=_rounded(seen.rpo_s),
        rto_s=_rounded(seen.rto_s),
        lacking=list(seen.lacking[:50]),
        not_saved=list(seen.not_saved[:50]),
    )
    assert not seen.lacking, "; ".join(seen.lacking[:10])
    assert seen.compared, "nothing was compared"
    assert seen.rpo_s is not None, "nobody measured what was lost"
    assert seen.rto_s is not None, "nobody measured how long it took"
    # Controls: a backup of objects alone, a file that differs, what was written after the backup.
    without_volumes, changed_file = seen.control
    assert without_volumes, "control: a backup without any volume's data was taken for good"
    assert changed_file, "control: a file that differs was taken for the same"
    assert seen.rpo_s > 0, "what was written after the backup is in the copy"


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
