"""The success metrics of a run: uptime from the load's probes, gains from a user's inputs.

Recorded when everything else of the run was measured, so that `measured` in the inputs
is what this run measured. What is missing is recorded as INCONCLUSIVE, with what to give.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provisioners.base import Side
from reports.business import Answer, absent, growth, saving, uptime
from reports.catalogue import catalogue
from reports.limits import holds, to_unit
from reports.model import Evidence, Limit, Status
from reports.signoffs import ended
from verbs.inputs import MEASURED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date
    from pathlib import Path

    from reports.store import Store
    from verbs.inputs import Inputs

LOAD_TEST_CHECK = "metrics::load_test"
UPTIME_CHECK = "metrics::uptime"
_EXAMPLE = "docs/tutorial.md shows a whole file"
_MOST_FAILED = 0.01  # response times of what is left would be those of the lucky
_QUANTILES = ("p50_ms", "p95_ms", "p99_ms")


def metric_checks() -> list[tuple[str, str]]:
    """Return (criterion, check) of all that `record_metrics` records, to be expected beforehand."""
    return [
        ("phase2.load_test", LOAD_TEST_CHECK),
        ("metric.uptime", UPTIME_CHECK),
        *((f"metric.{name}", _check(name)) for name in _RECKONED),
    ]


def record_metrics(store: Store, inputs: Inputs | None) -> None:
    """Record every success metric of a run; call it after load and faults, before the judge."""
    from reports.judgement import run_date

    store.evidence(_load_test(store))
    store.evidence(_uptime(store))
    run = _Reckoning(inputs, run_date(store.run()), _measured_hours(store))
    for name, reckon in _RECKONED.items():
        store.evidence(_evidence(name, run.answer(name, reckon, _limit(store, f"metric.{name}"))))
    efficiency = "metric.efficiency"
    if inputs and inputs.efficiency and not any(row.criterion == efficiency for row in store.read_evidence()):
        answer = run.answer("efficiency", _efficiency, _limit(store, efficiency))
        store.evidence(_evidence("efficiency", answer))


# -- what the run saw --------------------------------------------------------------------


def probe_slots(folder: Path, side: Side) -> tuple[int, int]:
    """Return (slots that were up, slots) of a load's log: one slot a server and second.

    Requests of one second share their fate, so they count as one probe: it is up if every
    request of it was served. Warm-up and what the generator dropped are left out.
    """
    import numpy as np

    from loadtests.plan import SAMPLES_FILE
    from loadtests.profile import SIDES as ORDER
    from loadtests.sample import WARMUP, ErrorKind, read_samples

    rows: Any = read_samples(folder / SAMPLES_FILE)
    chosen = (rows["side"] == ORDER.index(str(side))) & ((rows["flags"] & WARMUP) == 0)
    rows = rows[chosen & (rows["error"] != ErrorKind.DROPPED)]
    if not len(rows):
        return 0, 0
    second = (rows["planned_ns"] - rows["planned_ns"].min()) // 1_000_000_000
    slots, where = np.unique(
        second.astype(np.int64) * (int(rows["server"].max()) + 1) + rows["server"], return_inverse=True
    )
    failed = np.bincount(where.ravel(), weights=rows["error"] != ErrorKind.NONE, minlength=len(slots))
    return int((failed == 0).sum()), len(slots)


def _uptime(store: Store) -> Evidence:
    folder = store.path / "samples"
    counts = {side: probe_slots(folder, side) for side in Side}
    up, probes = counts[Side.KUBERNETES]
    answer = uptime(up, probes, _limit(store, "metric.uptime"))
    drills = [row for row in store.read_evidence() if row.criterion == "metric.recovery_time"]
    return _row(
        "metric.uptime",
        UPTIME_CHECK,
        answer,
        side="kubernetes",
        data={
            "probe": "one server in one second of the load; up if every request of it was served",
            "swarm": {"up": counts[Side.SWARM][0], "probes": counts[Side.SWARM][1]},
            # What gonogo broke itself says how it recovers, not how often it is down.
            "drills_left_out": {
                "requests": sum(row.samples for row in drills),
                "failed": sum(int(str(row.data.get("failed_requests") or 0)) for row in drills),
            },
        },
    )


def _load_test(store: Store) -> Evidence:
    summary = store.read_json("load/summary.json", {})
    limit = _limit(store, "phase2.load_test")
    sent = {
        str(side): sum(
            int(row["requests"]) - int(row["kinds"].get("dropped", 0))
            for row in summary.get("errors", ())
            if row["side"] == side
        )
        for side in Side
    }
    failed = {
        str(side): sum(
            int(row["errors"]) - int(row["kinds"].get("dropped", 0))
            for row in summary.get("errors", ())
            if row["side"] == side
        )
        for side in Side
    }
    fewest = min(sent.values())
    said = ", ".join(f"{side} {count} requests" for side, count in sent.items())
    lacking = [
        str(side)
        for side in Side
        if not any(
            row["side"] == side and all(row[q] is not None for q in _QUANTILES)
            for row in summary.get("latencies", ())
        )
    ]
    status = Status.INCONCLUSIVE
    if not summary:
        said = "no load ran"
    elif not summary.get("complete"):
        said += "; the load did not run to its end"
    elif lacking:
        said += f"; no response times of {' and '.join(lacking)}"
    elif spoiled := [side for side in sent if failed[side] > _MOST_FAILED * sent[side]]:
        status = Status.FAIL
        said += "; " + ", ".join(f"{side} failed {failed[side]} of them" for side in spoiled)
    elif not holds(limit, fewest):
        said += f"; {limit} are asked for: give `load.duration_s` or `load.rate_per_s`"
    else:
        status = Status.PASS
    return _row("phase2.load_test", LOAD_TEST_CHECK, Answer(status, float(fewest), fewest, said), limit.unit)


def _measured_hours(store: Store) -> dict[Side, float]:
    """Return the deployment of each side as this run timed it, in hours; failed ones are left out."""
    found = {}
    for row in store.read_evidence():
        hours = to_unit(row.observed, row.unit, "h")
        if row.criterion == "metric.deploy_time" and row.status is Status.PASS and hours is not None:
            found[Side(row.side)] = hours
    return found


# -- what a user gave --------------------------------------------------------------------


class _NotMeasuredError(Exception):
    """The inputs say `measured`, and this run did not measure it."""


@dataclass(frozen=True, slots=True)
class _Reckoning:
    """A user's inputs on the day of a run, with what the run measured."""

    inputs: Inputs | None
    today: date
    measured: Mapping[Side, float]

    def answer(self, name: str, reckon: Callable[[_Reckoning, Any, Limit], Answer], limit: Limit) -> Answer:
        if self.inputs is None:
            return absent("no inputs file", f"`inputs:` in the config, with `{name}:`; {_EXAMPLE}")
        pair = getattr(self.inputs, name)
        if pair is None:
            return absent(
                f"the inputs do not hold `{name}`", f"`{name}: {{before: ..., after: ...}}`; {_EXAMPLE}"
            )
        by = f"by {self.inputs.by} until {self.inputs.until}"
        if ended(f"{self.inputs.until}", self.today):
            return absent(f"the inputs {by} are over", "new numbers and a new `until`")
        try:
            found = reckon(self, pair, limit)
        except _NotMeasuredError as error:
            return absent(f"this run did not measure {error}", f"a run that does, or a time in `{name}`")
        return Answer(found.status, found.observed, found.samples, f"{found.why}; {by}")

    def hours(self, given: float | str, side: Side) -> float:
        if given != MEASURED:
            return float(given)
        if side not in self.measured:
            raise _NotMeasuredError(f"the deployment on {side}")
        return self.measured[side]


def _cost(run: _Reckoning, pair: Any, limit: Limit) -> Answer:
    del run
    before, after = pair.before.monthly, pair.after.monthly
    return saving(before.amount, after.amount, limit, "cost", f"{before.currency}/month")


def _productivity(run: _Reckoning, pair: Any, limit: Limit) -> Answer:
    del run
    rates = [one.deploys / one.work if one.work else 0.0 for one in (pair.before, pair.after)]
    if not pair.after.work:
        return absent("`productivity.after.work` is 0 h", "the hours of work behind the deploys")
    return growth(rates[0], rates[1], limit, "productivity", "deploys/h of work")


def _time_to_market(run: _Reckoning, pair: Any, limit: Limit) -> Answer:
    before = pair.before.wait + run.hours(pair.before.deploy, Side.SWARM)
    after = pair.after.wait + run.hours(pair.after.deploy, Side.KUBERNETES)
    return saving(before, after, limit, "from ready to live", "h")


def _overhead(run: _Reckoning, pair: Any, limit: Limit) -> Answer:
    hours = [
        one.routine + one.deploys * run.hours(one.per_deploy, side)
        for one, side in ((pair.before, Side.SWARM), (pair.after, Side.KUBERNETES))
    ]
    return saving(hours[0], hours[1], limit, "operations work", "h/month")


def _efficiency(run: _Reckoning, pair: Any, limit: Limit) -> Answer:
    del run
    rates = [one.served / one.cpu if one.cpu else 0.0 for one in (pair.before, pair.after)]
    if not pair.after.cpu:
        return absent("`efficiency.after.cpu` is 0 cores", "the cores that served it")
    return growth(rates[0], rates[1], limit, "efficiency", "requests/s a core")


_RECKONED: Mapping[str, Callable[[_Reckoning, Any, Limit], Answer]] = {
    "cost": _cost,
    "productivity": _productivity,
    "time_to_market": _time_to_market,
    "overhead": _overhead,
}


def _check(name: str) -> str:
    return f"metrics::{name}"


def _limit(store: Store, criterion: str) -> Limit:
    """Return the limit of this run, or the guide's where the run names none."""
    found = store.limit(criterion) or next(one.limit for one in catalogue() if one.id == criterion)
    assert found is not None  # noqa: S101  every metric has one; a test reads them all
    return found


def _evidence(name: str, answer: Answer) -> Evidence:
    return _row(f"metric.{name}", _check(name), answer)


def _row(
    criterion: str,
    check: str,
    answer: Answer,
    unit: str = "%",
    *,
    side: str = "both",
    data: Mapping[str, Any] | None = None,
) -> Evidence:
    return Evidence(
        criterion,
        check,
        answer.status,
        side=side,
        observed=answer.observed,
        unit=unit,
        samples=answer.samples,
        why=answer.why,
        data=data or {},
    )
