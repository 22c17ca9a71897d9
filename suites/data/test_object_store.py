"""A backup is put into the object store and comes back byte for byte; a wrong key gets nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixtures.backup_drill import BackupDrill
    from fixtures.backup_s3 import ObjectStore, StoreTrial
    from fixtures.record import Record
    from provisioners.base import Target


@pytest.mark.nightly
@pytest.mark.disruptive
@pytest.mark.criterion("cutover.backup", "technical.backup")
def test_a_backup_comes_back_from_the_store(
    target: Target,
    backup_drill: BackupDrill,
    object_store: Callable[[], ObjectStore],
    try_store: Callable[[ObjectStore, bytes], StoreTrial],
    record: Record,
) -> None:
    store = object_store()  # asked first: without one nothing is dumped for it
    seen = try_store(store, backup_drill.first_file("postgres", target))
    record(
        observed=100.0 if seen.whole else 0.0,
        unit="%",
        samples=seen.bytes,
        put_s=round(seen.put_s, 3),
        get_s=round(seen.get_s, 3),
        wrong_key_status=seen.wrong_key_status,
    )
    assert seen.bytes, f"{target.side}: an empty backup was put into the store"
    assert seen.same, f"{target.side}: what came back from the store is not what was put there"
    # Controls: a key that is not its own, and a name that nobody put.
    assert seen.wrong_key_status == 403, f"a wrong key was answered {seen.wrong_key_status}, not 403"
    assert seen.absent_status == 404, f"an object that nobody put was answered {seen.absent_status}, not 404"
    assert seen.removed, "an object is still there after it was deleted"
