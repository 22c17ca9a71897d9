"""The workload's namespace (Kubernetes) and stack (Swarm) exist, and only what exists is listed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from provisioners.base import Side

if TYPE_CHECKING:
    from fixtures.record import Record
    from provisioners.base import Cluster, Target

NOWHERE = "gonogo-no-such-namespace"


@pytest.mark.criterion("phase1.verify")
def test_workload_has_its_namespace(target: Target, cluster: Cluster, record: Record) -> None:
    wanted = cluster.namespace if target.side is Side.KUBERNETES else cluster.stack
    seen = list(target.namespaces())
    record(observed=wanted if wanted in seen else "absent", samples=len(seen), namespaces=seen)
    assert wanted in seen, f"{target.side}: no {wanted!r} among {', '.join(seen) or 'none'}"
    # Control: a list that holds every name shows nothing.
    assert NOWHERE not in seen, f"{target.side}: lists {NOWHERE!r}, which nobody made"
