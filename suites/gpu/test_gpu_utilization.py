"""The GPUs of our pods are busy while load runs, each by itself, by DCGM's series in Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fixtures.gpu_load import GpuLoad
    from fixtures.limit import LimitOf
    from fixtures.record import Record
    from reports.model import Json

LIMIT_PERCENT = 60.0
UTILISATION, PHASE = "performance.gpu_utilization", "phase2.gpu"


# It breaks nothing: what is marked so runs after the load, and that is when there is a window to look at.
@pytest.mark.nightly
@pytest.mark.disruptive
@pytest.mark.criterion("performance.gpu_utilization")
@pytest.mark.criterion("phase2.gpu")
def test_every_gpu_of_ours_is_busy_while_load_runs(
    gpu_load: GpuLoad, limit_of: LimitOf, record: Record
) -> None:
    seen, lowest = gpu_load.seen, gpu_load.seen.lowest
    least = limit_of(UTILISATION, unit="%", default=LIMIT_PERCENT)
    problems = [str(one) for one in seen.problems]
    samples = sum(use.samples for use in seen.uses)
    percents = {use.title: round(use.percent, 2) for use in seen.uses}
    shown: dict[str, Json] = {
        "percent": percents,
        "read_from": {use.title: use.of for use in seen.uses},
        "pods": ["/".join(pod) for pod in gpu_load.pods],
        "window_s": round(gpu_load.window.length_s, 1),
        "requests": gpu_load.window.requests,
        "problems": problems,
    }
    percent = None if lowest is None else round(lowest.percent, 2)
    record(criterion=UTILISATION, observed=percent, unit="%", samples=samples, measured=shown)
    busy = 100.0 * len(seen.uses) / max(1, len(seen.uses) + len(problems))
    record(criterion=PHASE, observed=busy, unit="%", samples=samples, measured=shown)
    dead = [use.title for use in seen.uses if use.percent <= 0]
    assert not dead, f"idle all through {gpu_load.window.requests} requests: {', '.join(dead)}"
    low = [f"{use.title} {use.percent:.1f} %" for use in seen.uses if use.percent <= least]
    if gpu_load.simulated:
        # The number is made of calls that were really sent, by a factor that was chosen: no fact about a GPU.
        note = f"simulated: mechanism shown, lowest {percent} %"
        record.inconclusive("; ".join([*problems, note]))
        return
    assert not low, f"not over {least:g} %: {'; '.join(low)}"
    if problems:
        record.inconclusive("; ".join(problems))
