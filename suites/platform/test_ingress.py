"""Entered from outside by its Ingress controller: hosts and paths lead where they should, and only there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fixtures.ingress import IngressDrill, Seen
    from fixtures.ingress_deployed import DeployedIngresses
    from fixtures.record import Record


@pytest.mark.nightly
@pytest.mark.criterion("cutover.ingress")
def test_hosts_and_paths_lead_to_their_servers_only(ingress_drill: IngressDrill, record: Record) -> None:
    _hold(ingress_drill.rules(), ingress_drill.door.service, record)


@pytest.mark.nightly
@pytest.mark.criterion("cutover.ingress")
def test_another_class_and_an_empty_service_are_not_served(
    ingress_drill: IngressDrill, record: Record
) -> None:
    _hold(ingress_drill.outside_rules(), ingress_drill.door.service, record)


@pytest.mark.nightly
@pytest.mark.criterion("cutover.ingress")
def test_tls_proves_the_name_and_no_other(ingress_drill: IngressDrill, record: Record) -> None:
    _hold(ingress_drill.tls(), ingress_drill.door.service, record)


@pytest.mark.nightly
@pytest.mark.criterion("cutover.ingress")
def test_plain_http_is_sent_to_tls_where_it_is_told_to(ingress_drill: IngressDrill, record: Record) -> None:
    _hold(ingress_drill.redirected(), ingress_drill.door.service, record)


@pytest.mark.nightly
@pytest.mark.criterion("phase3.ingress")
def test_deployed_ingresses_lead_to_their_services(
    deployed_ingresses: DeployedIngresses, record: Record
) -> None:
    _hold(deployed_ingresses.tried(), "the deployed Ingresses", record)


def _hold(seen: Sequence[Seen], where: str, record: Record) -> None:
    wrong = [f"{one.what}: {one.wrong}" for one in seen if one.wrong]
    record(
        observed=100.0 * (len(seen) - len(wrong)) / max(1, len(seen)),
        unit="%",
        samples=len(seen),
        controller=where,
        tried=[f"{one.what}: wanted {one.wanted}, came {one.came}" for one in seen],
    )
    assert not wrong, f"{where}: {len(wrong)} of {len(seen)}: {'; '.join(wrong)}"
