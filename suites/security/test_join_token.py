"""What lets a host join either cluster is read by root alone: on hosts, in objects, in what a run leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fixtures.join_token import JoinTokens
    from fixtures.record import Record

SHOWN = 8


@pytest.mark.nightly
@pytest.mark.criterion("phase2.join_token")
def test_nobody_else_reads_what_lets_a_host_join(join_tokens: JoinTokens, record: Record) -> None:
    found = join_tokens.open_places
    joins = join_tokens.how_kubernetes_joins
    record(
        observed=float(len(found)),
        unit="places readable by others",
        samples=join_tokens.looked_at,
        why=f"Kubernetes is joined by {joins}; looked for: {', '.join(join_tokens.names) or 'nothing'}",
        tokens=list(join_tokens.names),
        kept_by_root=[str(place) for place in join_tokens.kept[:SHOWN]],
        objects=join_tokens.objects,
        run_files=join_tokens.run_files,
        hosts={
            host.node: {
                "processes": host.processes,
                "files": host.files,
                "journal_lines": host.journal_lines,
                "too_large_files": host.too_large,
            }
            for host in join_tokens.hosts
        },
    )
    assert not found, f"{len(found)} places: {'; '.join(map(str, found[:SHOWN]))}"
    if join_tokens.doubts:
        record.inconclusive("; ".join(join_tokens.doubts))
