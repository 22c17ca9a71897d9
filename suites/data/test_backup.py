"""Data are backed up, destroyed, restored elsewhere and compared; a bad backup is known before its need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fixtures.backup_drill import BackupDrill
    from fixtures.record import Record
    from provisioners.base import Target

KINDS = ("postgres", "redis", "volume")


@pytest.mark.nightly
@pytest.mark.disruptive
@pytest.mark.criterion("cutover.backup", "technical.backup", "phase3.backup", "phase4.dr")
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_destroyed_is_restored_elsewhere(
    target: Target, kind: str, backup_drill: BackupDrill, record: Record
) -> None:
    seen = backup_drill.run(kind, target)
    whole = not seen.problems and not seen.lacking and seen.destroyed and seen.compared > 0
    record(
        observed=100.0 if whole else 0.0,
        unit="%",
        samples=seen.compared,
        why="; ".join(seen.notes),
        kind=kind,
        source=seen.source,
        elsewhere=seen.elsewhere,
        files={one.name: one.size_bytes for one in seen.files},
        sha256={one.name: one.sha256 for one in seen.files},
        server_version=seen.files[0].server_version if seen.files else None,
        backup_s=round(seen.backup_s, 3),
        rpo_s=_rounded(seen.rpo_s),
        rto_s=_rounded(seen.rto_s),
        lacking=list(seen.lacking[:50]),
    )
    assert not seen.problems, f"{target.side}: {kind}: {'; '.join(seen.problems)}"
    # Without this, what is compared could be what was never away.
    assert seen.destroyed, f"{target.side}: {kind}: the drill's own data were still there after the loss"
    assert not seen.lacking, f"{target.side}: {kind}: {'; '.join(seen.lacking[:10])}"
    assert seen.rpo_s is not None, f"{target.side}: {kind}: nobody measured what was lost"
    assert seen.rto_s is not None, f"{target.side}: {kind}: nobody measured how long it took"
    # Control: the drill writes on after the backup, so a restore that lost nothing read the source.
    assert seen.rpo_s > 0, f"{target.side}: {kind}: what was written after the backup is in the copy"


@pytest.mark.nightly
@pytest.mark.disruptive
@pytest.mark.criterion("cutover.backup", "technical.backup")
@pytest.mark.parametrize("kind", KINDS)
def test_bad_backups_are_caught(target: Target, kind: str, backup_drill: BackupDrill, record: Record) -> None:
    seen = backup_drill.run(kind, target)
    caught = len(seen.controls) - len(seen.not_caught)
    record(
        observed=100.0 * caught / len(seen.controls) if seen.controls else 0.0,
        unit="%",
        samples=len(seen.controls),
        kind=kind,
        found={f"{one.name}, {one.how}": one.found[:300] for one in seen.controls},
        tool_refused=seen.tool_refused,
    )
    assert seen.controls, f"{target.side}: {kind}: there is no backup that could be made bad"
    assert not seen.not_caught, f"{target.side}: {kind}: taken for good: {'; '.join(seen.not_caught)}"
    assert seen.tool_refused, (
        f"{target.side}: {kind}: its own tool restored a truncated backup without a word"
    )


@pytest.mark.nightly
@pytest.mark.criterion("cutover.backup", "technical.backup")
def test_production_is_no_restore_target(target: Target, backup_drill: BackupDrill, record: Record) -> None:
    asked = backup_drill.production_refused(target)
    taken = [name for name, code in asked.items() if code != 4]
    record(
        observed=100.0 * (len(asked) - len(taken)) / len(asked) if asked else 0.0,
        unit="%",
        samples=len(asked),
        exit_codes=dict(asked),
    )
    assert not taken, f"{target.side}: a restore onto {', '.join(taken)} would have gone on"


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
