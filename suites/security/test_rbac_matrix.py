"""Who may do what: a workload's accounts and strangers nothing, a deployer just what its role says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fixtures.rbac import Rbac, Row
    from fixtures.record import Record
    from fixtures.target import RunInput
    from provisioners.base import Cluster

SHOWN = 6


@pytest.mark.nightly
@pytest.mark.criterion("phase4.rbac")
@pytest.mark.criterion("technical.security")
def test_the_workloads_accounts_may_do_nothing_of_it(rbac: Rbac, cluster: Cluster, record: Record) -> None:
    _hold(rbac.workload_rows(cluster.namespace), record)


@pytest.mark.nightly
@pytest.mark.criterion("phase4.rbac")
@pytest.mark.criterion("technical.security")
def test_nobody_without_a_name_may_do_any_of_it(rbac: Rbac, cluster: Cluster, record: Record) -> None:
    _hold(rbac.anonymous_rows(cluster.namespace), record)


@pytest.mark.nightly
@pytest.mark.criterion("phase4.rbac")
def test_a_deployer_may_deploy_and_nothing_else(rbac: Rbac, run_input: RunInput, record: Record) -> None:
    _hold(rbac.deployer_rows(run_input), record)


def _hold(rows: Sequence[Row], record: Record) -> None:
    wrong = [row.why for row in rows if row.why]
    record(
        observed=100.0 * (len(rows) - len(wrong)) / max(1, len(rows)),
        unit="%",
        samples=len(rows),
        denied=sum(not row.expected for row in rows),
        tried_with_a_token=sum(row.status is not None for row in rows),
    )
    assert not wrong, f"{len(wrong)} of {len(rows)}: {'; '.join(wrong[:SHOWN])}"
    doubtful = dict.fromkeys(row.doubt for row in rows if row.doubt)
    if doubtful:
        record.inconclusive("; ".join(list(doubtful)[:SHOWN]))
