"""What runs is what was deployed: nobody changed it by hand since."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixtures.drift import Drift
    from fixtures.record import Record
    from provisioners.base import Bundle, Target

SHOWN = 8


@pytest.mark.nightly
@pytest.mark.criterion("operational.deploy_automation")
@pytest.mark.usefixtures("quiet")
def test_what_runs_is_what_was_deployed(
    target: Target, bundle: Bundle, drift: Callable[[Target, Bundle], Drift], record: Record
) -> None:
    seen = drift(target, bundle)
    record(
        observed=len(seen.differences),
        unit="changes",
        samples=seen.compared,
        differences=[str(one) for one in seen.differences[:50]],
        autoscaled=list(seen.scaled),
    )
    shown = "; ".join(str(one) for one in seen.differences[:SHOWN])
    assert not seen.differences, f"{target.side}: {len(seen.differences)} differ: {shown}"
