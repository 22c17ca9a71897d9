"""Backend, chat, dashboard and gateway are ready on Kubernetes, entered, and find each other by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fixtures.core_platform import CorePlatform
    from fixtures.record import Record

SHOWN = 6


@pytest.mark.nightly
@pytest.mark.disruptive
@pytest.mark.criterion("phase3.core_platform")
def test_the_core_platform_is_deployed_entered_and_calls_itself(
    core_platform: CorePlatform, record: Record
) -> None:
    seen = core_platform.seen()
    good = seen.tried - len(seen.wrong)
    record(
        observed=100.0 * good / max(1, seen.tried),
        unit="%",
        samples=seen.tried,
        why=f"{seen.origin}, namespace {seen.namespace}",
        services=list(seen.services),
        entries=[one.title for one in seen.entries],
        calls=[one.title for one in seen.calls],
        ready_s=round(seen.duration_s, 2),
    )
    assert not seen.wrong, "; ".join(seen.wrong[:SHOWN])
    if not seen.calls or not seen.entries:
        record.inconclusive("no service was entered, or none calls another")
    elif not seen.control_failed:
        record.inconclusive("a name that nobody made answers too: what was found by name shows nothing")
