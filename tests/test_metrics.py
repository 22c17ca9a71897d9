"""Success metrics of a run: probes counted from the load's log, a user's inputs, what is missing."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from loadtests.plan import SAMPLES_FILE
from loadtests.sample import WARMUP, ErrorKind, Sample, SampleWriter
from provisioners.base import Side
from provisioners.errors import InputError
from reports.catalogue import catalogue
from reports.judgement import judge_run
from reports.model import Evidence, Level, Profile, Status
from reports.store import create
from verbs.inputs import read_inputs
from verbs.metrics import metric_checks, probe_slots, record_metrics

ROOT = Path(__file__).resolve().parent.parent
NOW = datetime(2026, 11, 24, tzinfo=UTC)
WHOLE = """
by: Ana
until: 2027-06-30
cost:
  before: {hosts: 5, price: 900 EUR/month}
  after: {hosts: 4, price: 900 EUR/month, other: 1200 EUR/year}
productivity:
  before: {deploys: 24, work: 400 h}
  after: {deploys: 40, work: 420 h}
time_to_market:
  before: {wait: 40 h, deploy: 2 h}
  after: {wait: 20 h, deploy: measured}
overhead:
  before: {routine: 60 h/month, deploys: 20 /month, per_deploy: 2 h}
  after: {routine: 20 h/month, deploys: 20 /month, per_deploy: measured}
efficiency:
  before: {served: 900 requests/s, cpu: 40 cores}
  after: {served: 900 requests/s, cpu: 30 cores}
"""
GAINS = {
    "cost": 17.78,
    "productivity": 58.73,
    "time_to_market": 52.18,
    "overhead": 78.33,
    "efficiency": 33.33,
}


def inputs_of(folder: Path, text: str = WHOLE):
    path = folder / "inputs.yaml"
    path.write_text(text, encoding="utf-8")
    return read_inputs(path)


def run_of(folder: Path, *, deployed: Status = Status.PASS, level: Level = Level.HOSTS):
    store = create(folder, "hosts", Profile.CUTOVER, now=NOW)
    store.update_run(level=level)
    store.criteria(catalogue())
    for criterion, check in metric_checks():
        store.expect(criterion, check)
    for side in Side:
        store.evidence(
            Evidence("metric.deploy_time", f"deploy::{side}", deployed, str(side), 5.0, "min", samples=19)
        )
    return store


def found(store) -> dict[str, Evidence]:
    return {row.criterion: row for row in store.read_evidence()}


def log(folder: Path, rows: list[tuple[int, int, int, ErrorKind, int]]) -> Path:
    """Write (second, server, side, error, flags) as a load's log."""
    folder.mkdir(exist_ok=True)
    writer = SampleWriter(folder / SAMPLES_FILE)
    for second, server, side, error, flags in rows:
        at = 10**12 + second * 10**9
        writer.append(Sample(at, at, at + 10**6, 0, 100, server, 200, 0, side, error, flags))
    writer.close()
    return folder


def test_every_gain_is_reckoned_from_inputs_and_what_was_measured(tmp_path):
    store = run_of(tmp_path)
    record_metrics(store, inputs_of(tmp_path))
    rows = found(store)
    for name, gain in GAINS.items():
        row = rows[f"metric.{name}"]
        assert row.observed == pytest.approx(gain, abs=0.01), row.why
        assert (row.status, row.unit) == (Status.PASS, "%")
        assert "by Ana until 2027-06-30" in row.why
    statuses = {one.criterion: one.status for one in judge_run(store, ask_red=False).findings}
    assert {statuses[f"metric.{name}"] for name in GAINS} == {Status.PASS}


def test_a_gain_that_is_too_small_fails(tmp_path):
    store = run_of(tmp_path)
    record_metrics(store, inputs_of(tmp_path, WHOLE.replace("hosts: 4", "hosts: 5")))
    assert found(store)["metric.cost"].status is Status.FAIL


def test_gains_count_on_real_hosts_only(tmp_path):
    store = run_of(tmp_path, level=Level.LAB_UPSTREAM)
    record_metrics(store, inputs_of(tmp_path))
    finding = {one.criterion: one for one in judge_run(store).findings}["metric.cost"]
    assert (finding.status, finding.blocking) == (Status.INCONCLUSIVE, False)
    assert "mechanism shown" in finding.why


def test_without_inputs_nothing_passes_and_each_says_what_to_give(tmp_path):
    store = run_of(tmp_path)
    record_metrics(store, None)
    rows = found(store)
    for criterion, _ in metric_checks():
        assert rows[criterion].status is Status.INCONCLUSIVE
    assert "`inputs:` in the config, with `cost:`" in rows["metric.cost"].why
    assert "no probe was made; 2995 probes" in rows["metric.uptime"].why
    assert "no load ran" in rows["phase2.load_test"].why
    assert "metric.efficiency" not in rows


@pytest.mark.parametrize("name", sorted(set(GAINS) - {"efficiency"}))
def test_a_part_that_is_left_out_is_asked_for(tmp_path, name):
    text = "by: Ana\nuntil: 2027-06-30\n"
    store = run_of(tmp_path)
    record_metrics(store, inputs_of(tmp_path, text))
    row = found(store)[f"metric.{name}"]
    assert row.status is Status.INCONCLUSIVE
    assert f"do not hold `{name}`" in row.why


def test_what_the_run_did_not_measure_is_not_made_up(tmp_path):
    store = run_of(tmp_path, deployed=Status.FAIL)
    record_metrics(store, inputs_of(tmp_path))
    row = found(store)["metric.time_to_market"]
    assert row.status is Status.INCONCLUSIVE
    assert "did not measure the deployment on kubernetes" in row.why


def test_inputs_that_are_over_count_no_more(tmp_path):
    store = run_of(tmp_path)
    record_metrics(store, inputs_of(tmp_path, WHOLE.replace("2027-06-30", "2026-11-23")))
    assert found(store)["metric.cost"].status is Status.INCONCLUSIVE
    assert "are over" in found(store)["metric.cost"].why


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("price: 900 EUR/month}\n  after", "price: 900}\n  after", "has no unit; write 900 EUR/month"),
        ("price: 900 EUR/month}\n  after", "price: 900 euros}\n  after", "is no price"),
        ("price: 900 EUR/month}\n  after", "price: -1 EUR/month}\n  after", "no amount with a unit"),
        ("price: 900 EUR/month}\n  after", "price: .nan}\n  after", "no amount with a unit"),
        ("other: 1200 EUR/year", "other: 1200 USD/year", "give one currency"),
        ("price: 900 EUR/month}\n  after", "price: 900 USD/month}\n  after", "different currencies"),
        ("hosts: 5", "hosts: 0", "greater than or equal to 1"),
        ("work: 400 h", "work: 400", "has no unit; write 2 h"),
        ("work: 400 h", "work: measured", "valid number"),
        ("work: 400 h", "work: 400 apples", "is no time"),
        ("routine: 60 h/month", "routine: 60 h", "time for each period"),
        ("deploys: 20 /month, per_deploy: 2 h", "deploys: 20, per_deploy: 2 h", "has no unit"),
        ("cpu: 40 cores", "cpu: 40", "has no unit; write 10 cores"),
        ("cpu: 40 cores", "cpu: 40 GHz", "is not in cores"),
        ("by: Ana", "by: ' '", "by:"),
        ("until: 2027-06-30", "until: soon", "until:"),
        ("by: Ana", "by: Ana\ncots: {}", "cots: unknown key"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(tmp_path, old, new, words):
    assert old in WHOLE
    with pytest.raises(InputError) as caught:
        inputs_of(tmp_path, WHOLE.replace(old, new))
    assert words in str(caught.value)
    assert "inputs.yaml" in str(caught.value)


def test_a_missing_inputs_file_is_wrong_input(tmp_path):
    with pytest.raises(InputError, match="no inputs file"):
        read_inputs(tmp_path / "none.yaml")
    assert read_inputs(None) is None


def test_the_inputs_of_the_tutorial_are_whole(tmp_path):
    text = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    block = next(part.partition("```")[0] for part in text.split("```yaml\n")[1:] if "until:" in part)
    inputs = inputs_of(tmp_path, block)
    assert all(getattr(inputs, name) is not None for name in GAINS)


# -- probes ------------------------------------------------------------------------------


def test_one_server_in_one_second_is_one_probe(tmp_path):
    none, refused = ErrorKind.NONE, ErrorKind.REFUSED
    rows = [
        (0, 0, 1, none, 0), (0, 0, 1, none, 0), (0, 1, 1, none, 0),  # two servers in one second
        (1, 0, 1, none, 0), (1, 0, 1, refused, 0),  # one request failed: the slot is down
        (2, 0, 1, refused, WARMUP), (2, 1, 1, ErrorKind.DROPPED, 0),  # neither is a probe
        (0, 0, 0, refused, 0),  # the other side
    ]  # fmt: skip
    folder = log(tmp_path / "samples", rows)
    assert probe_slots(folder, Side.KUBERNETES) == (2, 3)
    assert probe_slots(folder, Side.SWARM) == (0, 1)
    assert probe_slots(tmp_path / "none", Side.SWARM) == (0, 0)


@pytest.mark.parametrize(("failed", "status"), [(0, Status.PASS), (30, Status.FAIL)])
def test_uptime_is_judged_from_the_probes_of_the_load(tmp_path, failed, status):
    store = run_of(tmp_path)
    rows = [(second, server, 1, ErrorKind.NONE, 0) for second in range(200) for server in range(16)]
    for index in range(failed):
        rows[index] = (*rows[index][:3], ErrorKind.TIMEOUT, 0)
    log(store.samples_dir, rows)
    store.evidence(
        Evidence(
            "metric.recovery_time", "drill", Status.PASS, "kubernetes", 0.1, "min", 50,
            data={"failed_requests": 40},
        )
    )  # fmt: skip
    record_metrics(store, None)
    row = found(store)["metric.uptime"]
    assert (row.status, row.samples) == (status, 3_200)
    assert row.data["drills_left_out"] == {"requests": 50, "failed": 40}


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({}, Status.PASS, "swarm 1500 requests, kubernetes 1400 requests"),
        ({"complete": False}, Status.INCONCLUSIVE, "did not run to its end"),
        ({"latencies": []}, Status.INCONCLUSIVE, "no response times of swarm and kubernetes"),
        ({"failed": 20}, Status.FAIL, "kubernetes failed 20 of them"),
        ({"failed": 14}, Status.PASS, "kubernetes 1400 requests"),
        ({"few": 900}, Status.INCONCLUSIVE, ">= 1000 requests a side are asked for"),
    ],
)
def test_a_load_test_needs_both_sides_to_the_end(tmp_path, change, status, words):
    store = run_of(tmp_path)
    requests = {"swarm": 1_500, "kubernetes": change.get("few", 1_400)}
    summary = {
        "complete": True,
        "errors": [
            {
                "side": side,
                "requests": n,
                "errors": change.get("failed", 0) if side == "kubernetes" else 0,
                "kinds": {},
            }
            for side, n in requests.items()
        ],
        "latencies": [{"side": side, "p50_ms": 1.0, "p95_ms": 2.0, "p99_ms": 3.0} for side in requests],
    }
    store.write_json(
        "load/summary.json", {**summary, **{k: v for k, v in change.items() if k not in {"few", "failed"}}}
    )
    record_metrics(store, None)
    row = found(store)["phase2.load_test"]
    assert row.status is status
    assert words in row.why
