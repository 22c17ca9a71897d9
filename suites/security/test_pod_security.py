"""Pods keep to the baseline profile and carry no token; what keeps them from the restricted one is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fixtures.pod_security import RunPods
    from fixtures.record import Record

SHOWN = 8


@pytest.mark.nightly
@pytest.mark.criterion("technical.security")
def test_pods_keep_to_the_baseline_profile(pods_of_run: RunPods, record: Record) -> None:
    found = pods_of_run.breaches("baseline")
    pods = len(pods_of_run.pods)
    record(
        observed=0.0 if found or not pods else 100.0,
        unit="%",
        samples=pods,
        asked_by_the_input=[one.title for one in found if one.asked],
        restricted=[one.title for one in pods_of_run.breaches("restricted")][:SHOWN],
    )
    # Control: a pod that breaks it has to be told from one that does not.
    assert pods_of_run.control() == {"baseline", "restricted", "token"}
    assert pods, f"namespace {pods_of_run.namespace} has no pod: nothing was looked at"
    assert not found, "; ".join(one.title for one in found[:SHOWN])


@pytest.mark.nightly
@pytest.mark.criterion("technical.security")
def test_pods_carry_no_token(pods_of_run: RunPods, record: Record) -> None:
    found = pods_of_run.breaches("token")
    pods = len(pods_of_run.pods)
    record(observed=0.0 if found or not pods else 100.0, unit="%", samples=pods)
    assert pods, f"namespace {pods_of_run.namespace} has no pod: nothing was looked at"
    assert not found, "; ".join(one.title for one in found[:SHOWN])
