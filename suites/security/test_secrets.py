"""No secret's value lies where others read it, and nobody but who must may read Secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fixtures.rbac import Rbac
    from fixtures.record import Record
    from fixtures.secret_places import AtRest, Places

SHOWN = 8


@pytest.mark.nightly
@pytest.mark.criterion("technical.security")
def test_no_value_lies_outside_secrets(
    secret_places: Places, secrets_at_rest: AtRest, record: Record
) -> None:
    found = secret_places.leaks()
    record(
        observed=0.0 if found else 100.0,
        unit="%",
        samples=len(secret_places.objects),
        why="" if secrets_at_rest.encrypted else f"Secrets at rest: {secrets_at_rest.why}",
        secrets=len(secret_places.values),
        encrypted_at_rest=secrets_at_rest.encrypted,
    )
    assert secret_places.control(), "a value that was hidden on purpose is not found"
    assert not found, f"{len(found)} places: {'; '.join(found[:SHOWN])}"
    if not secret_places.values:
        record.inconclusive(
            f"namespace {secret_places.namespace} has no Secret whose value could be looked for"
        )


@pytest.mark.nightly
@pytest.mark.criterion("technical.security")
@pytest.mark.criterion("phase4.rbac")
def test_no_account_of_pods_reads_secrets(secret_places: Places, rbac: Rbac, record: Record) -> None:
    seen = secret_places.readers(rbac)
    record(
        observed=0.0 if seen.wrong else 100.0,
        unit="%",
        samples=seen.asked,
        why=f"operators that may read them too: {', '.join(seen.others)}" if seen.others else "",
    )
    # Control: the question must have a "yes" for somebody.
    assert rbac.somebody_reads_secrets(secret_places.namespace), "nobody at all may read Secrets, it says"
    assert not seen.wrong, (
        f"may read the Secrets of {secret_places.namespace}: {', '.join(seen.wrong[:SHOWN])}"
    )
    if seen.not_asked:
        record.inconclusive(f"{seen.not_asked} more ServiceAccounts were not asked about")
