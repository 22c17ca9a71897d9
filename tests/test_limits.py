"""Limits of the config: units, the moves that are refused, and where a moved one counts."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from provisioners.errors import InputError
from reports.catalogue import catalogue
from reports.judge import judge
from reports.model import Evidence, Level, Limit, Profile, Status
from reports.store import create
from verbs.config import load_config
from verbs.limits import fitted_limits, moved, with_limits
from verbs.workload import fit_table

if TYPE_CHECKING:
    from pathlib import Path

GOOD = "target: {kind: noop}\ncompose: [a.yml]\ntiers: tiers.yaml\n"


def config_with(folder: Path, limits: str):
    path = folder / "config.yaml"
    path.write_text(f"{GOOD}limits: {limits}\n", encoding="utf-8")
    return load_config(str(path))


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ("{metric.deploy_time: 5}", "has no unit; write 5 min"),
        ("{metric.deploy_time: '5'}", "has no unit"),
        ("{metric.deploy_time: -5 min}", "is negative"),
        ("{metric.deploy_time: .nan}", "no finite number"),
        ("{metric.deploy_time: nan min}", "no finite number"),
        ("{metric.deploy_time: inf min}", "no finite number"),
        ("{metric.uptime: 120 %}", "over 100 %"),
        ("{metric.uptime: 120%}", "over 100 %"),
        ("{metric.deploy_time: 5 apples}", "is not in min"),
        ("{metric.deploy_time: 0 min}", "nothing is under"),
        ("{metric.deploy_time: soon}", "is no limit"),
        ("{metric.deploy_time: true}", "is no limit"),
        ("{metric.deploy_tim: 5 min}", "did you mean 'metric.deploy_time'"),
        ("{performance.response: 5 %}", "load.margin"),
        ("{operational.training: 0 valid sign-off}", "exact"),
        ("{phase1.health: 90 %}", "exact"),
        ("[metric.deploy_time]", "not a mapping"),
    ],
)
def test_a_limit_that_cannot_be_is_refused_before_anything_runs(tmp_path, limits, words):
    with pytest.raises(InputError) as caught:
        config_with(tmp_path, limits)
    assert words in str(caught.value)
    assert caught.value.exit_code == 2


def test_every_wrong_limit_is_told_at_once(tmp_path):
    with pytest.raises(InputError) as caught:
        config_with(tmp_path, "{metric.deploy_time: 5, metric.uptime: 120 %}")
    assert "no unit" in str(caught.value)
    assert "over 100" in str(caught.value)


def test_units_are_converted_to_the_guides(tmp_path):
    config = config_with(tmp_path, "{metric.deploy_time: 300 s, performance.network_latency: 0.02 s}")
    by_id = {one.id: one.limit for one in with_limits(catalogue(), config.limits)}
    assert by_id["metric.deploy_time"] == Limit("<", 5, "min")
    assert by_id["performance.network_latency"] == Limit("<", 20, "ms")
    assert by_id["phase2.latency"] == Limit("<", 10, "ms")


@pytest.mark.parametrize(
    ("name", "text", "loosened"),
    [
        ("metric.deploy_time", "5 min", False),
        ("metric.deploy_time", "15 min", True),
        ("metric.uptime", "99.99 %", False),
        ("metric.uptime", "99 %", True),
        ("technical.servers", "5 servers", True),
        ("technical.servers", "20 servers", False),
    ],
)
def test_looser_and_tighter_are_told_apart(name, text, loosened):
    assert [one.loosened for one in moved({name: text})] == [loosened]


def test_a_limit_as_it_was_is_no_move():
    assert moved({"metric.deploy_time": "600 s"}) == ()
    assert fitted_limits({"metric.deploy_time": "10 min"}) == {}


def test_moved_limits_stand_on_page_one(tmp_path):
    limits = "{metric.deploy_time: 15 min, metric.uptime: 99.95 %}"
    said = fit_table(config_with(tmp_path, limits))["limits"]
    assert said == {
        "loosened": "metric.deploy_time < 15 min (guide: < 10 min)",
        "tightened": "metric.uptime >= 99.95 % (guide: >= 99.9 %)",
    }


@pytest.mark.parametrize(
    ("text", "status"), [("10 min", Status.PASS), ("5 min", Status.FAIL), ("7.5 min", Status.PASS)]
)
def test_the_judge_holds_to_the_moved_limit(text, status):
    seen = Evidence("metric.deploy_time", "deploy::swarm", Status.PASS, observed=7.0, unit="min", samples=1)
    criteria = with_limits(catalogue(), {"metric.deploy_time": text})
    verdict = judge(criteria, [seen], [], Profile.SMOKE, Level.LAB_UPSTREAM, date(2026, 11, 24))
    assert {one.criterion: one.status for one in verdict.findings}["metric.deploy_time"] is status


def test_checks_are_told_the_limit_of_their_run(tmp_path):
    store = create(tmp_path, "noop", Profile.SMOKE)
    store.criteria(with_limits(catalogue(), {"metric.recovery_time": "2 min"}))
    assert store.limit("metric.recovery_time") == Limit("<", 2, "min")
    assert store.limit("performance.response") is None
    assert store.limit("no.such") is None
