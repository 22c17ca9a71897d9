"""From outside a node shows the ports that it should, and no others; who listens there is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fixtures.ports import Ports
    from fixtures.record import Record
    from provisioners.base import Node


@pytest.mark.nightly
@pytest.mark.criterion("technical.security")
def test_no_port_answers_that_nobody_expects(node: Node, ports_of: Ports, record: Record) -> None:
    seen = ports_of.look(node)
    wrong = seen.unexpected
    record(
        observed=100.0 * (seen.tried - len(wrong)) / max(1, seen.tried),
        unit="%",
        samples=seen.tried,
        why=f"open, though only nodes need it: {'; '.join(seen.for_nodes)}" if seen.for_nodes else "",
        open={str(port): seen.expected.get(port, "not expected") for port in seen.open},
    )
    if not seen.sees_open:
        record.inconclusive(f"{seen.node}: its SSH port is not seen from here: nothing is")
        return
    if not seen.sees_closed:
        record.inconclusive(f"{seen.node}: a port where nothing listens seems open: something answers for it")
        return
    assert not wrong, f"open from outside: {'; '.join(wrong)}"
