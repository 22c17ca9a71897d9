"""From a socket up to a tool call, by Service and by Ingress: the first broken rung has a name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fixtures.ingress import IngressDrill
    from fixtures.ladder import Climb, Ladder
    from fixtures.record import Record
    from provisioners.base import ServiceSpec, Side, Target


@pytest.mark.nightly
@pytest.mark.criterion("cutover.services")
def test_every_rung_by_service(
    target: Target, both: Mapping[Side, Target], server: ServiceSpec, ladder: Ladder, record: Record
) -> None:
    # The first side is what runs today: the other one is compared with it.
    first = next(iter(both.values()))
    _hold(ladder.by_service(target, server, None if target is first else first), record)


@pytest.mark.nightly
@pytest.mark.criterion("cutover.ingress")
def test_every_rung_by_ingress(
    ingress_drill: IngressDrill,
    both: Mapping[Side, Target],
    server: ServiceSpec,
    ladder: Ladder,
    record: Record,
) -> None:
    last = list(both.values())[-1]
    _hold(ladder.by_ingress(ingress_drill, last, server), record)


def _hold(climb: Climb, record: Record) -> None:
    record(
        observed=100.0 * climb.held / climb.of,
        unit="%",
        samples=len(climb.rungs),
        rungs=[f"{rung.name}: {rung.why or rung.seen} ({rung.duration_ms:g} ms)" for rung in climb.rungs],
    )
    assert not climb.broken, climb.broken
