"""Deploying what is already deployed changes nothing and restarts nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fixtures.record import Record
    from provisioners.base import Bundle, Target


@pytest.mark.criterion("operational.deploy_automation", "phase1.automation")
@pytest.mark.usefixtures("quiet")
def test_second_deploy_changes_nothing(target: Target, bundle: Bundle, record: Record) -> None:
    before = _lives(target, bundle)
    result = target.apply(bundle)
    changes = [*result.created, *result.changed, *result.removed]
    record(
        observed=len(changes),
        unit="changes",
        samples=len(result.unchanged) + len(changes),
        changes=changes[:50],
        duration_s=round(result.duration_s, 3),
    )
    assert not changes, f"{target.side}: the second deploy changed {', '.join(changes[:10])}"
    assert len(result.unchanged) >= len(bundle.services), (
        f"{target.side}: {len(result.unchanged)} objects unchanged, {len(bundle.services)} services promised"
    )
    after = _lives(target, bundle)
    restarted = sorted(name for name, lives in before.items() if after.get(name) != lives)
    assert not restarted, f"{target.side}: the second deploy restarted {', '.join(restarted)}"


def _lives(target: Target, bundle: Bundle) -> dict[str, frozenset[tuple[str, int]]]:
    """Return the replicas of each service with how often each was restarted."""
    return {
        spec.name: frozenset((one.id, one.restarts) for one in target.replicas(spec.name))
        for spec in bundle.services
    }
