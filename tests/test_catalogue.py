"""The catalogue is the guide, line by line; where it blocks is the design's table; its document is fresh."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports.catalogue import LIVE, catalogue, missing
from reports.criteria_doc import blocks_text, criteria_doc
from reports.limits import to_unit
from reports.model import Criterion, Level, Profile
from verbs.metrics import metric_checks
from verbs.mutations import MUTATIONS, NEEDS_HOSTS

ROOT = Path(__file__).resolve().parent.parent
GUIDE = ROOT / "tests" / "data" / "guide.tsv"
LAB = (Level.LAB_UPSTREAM, Level.LAB_K3S)
SMOKE = {
    "cutover.services",
    "cutover.intercomm",
    "technical.servers",
    "technical.discovery",
    "performance.response",
    "performance.network_latency",
    "operational.deploy_automation",
    "metric.deploy_time",
    "metric.recovery_time",
    "phase1.install",
    "phase1.verify",
    "phase1.kubeconfig",
    "phase1.convert",
    "phase1.deploy",
    "phase1.health",
    "phase1.automation",
    "phase2.nodes",
    "phase2.labels",
    "phase2.primary_tier",
    "phase2.latency",
    "phase3.secondary_tier",
}
BUSINESS = {
    f"metric.{name}"
    for name in ("cost", "productivity", "time_to_market", "overhead", "efficiency", "uptime")
}


def guide_ids() -> list[str]:
    lines = GUIDE.read_text(encoding="utf-8").splitlines()
    return [line.split("\t")[0] for line in lines if not line.startswith("#")]


def by_id() -> dict[str, Criterion]:
    return {one.id: one for one in catalogue()}


def test_every_line_of_the_guide_is_one_criterion():
    ids = [one.id for one in catalogue()]
    assert len(ids) == len(set(ids)) == 65
    assert sorted(ids) == sorted(guide_ids())


def test_the_guide_as_data_is_whole():
    rows = [
        line.split("\t")
        for line in GUIDE.read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]
    assert all(len(row) == 3 and all(row) for row in rows)
    assert len({row[0] for row in rows}) == len(rows)


def test_each_criterion_has_owner_limit_unit_profiles_and_levels():
    for one in catalogue():
        assert one.owner in {"suite", "load", "measurement", "person", "uncovered"}
        assert one.title
        assert one.profiles
        assert one.shown_at
        assert one.blocking, f"{one.id} blocks nowhere"
        assert {level for _, level in one.blocking} <= one.shown_at, (
            f"{one.id} blocks where it cannot be shown"
        )
        if one.id != "performance.response":  # its margin is the config's
            assert one.limit is not None
            assert one.limit.unit
            assert to_unit(one.limit.value, one.limit.unit, one.limit.unit) == one.limit.value


def test_smoke_blocks_what_it_measures_itself_in_the_lab():
    for level in LAB:
        assert {one.id for one in catalogue() if one.blocks(Profile.SMOKE, level)} == SMOKE
    assert len(SMOKE) == 21


def test_each_profile_asks_for_more_than_the_one_before():
    for level in LIVE:
        blocking = [{one.id for one in catalogue() if one.blocks(p, level)} for p in Profile]
        assert blocking[0] < blocking[1] < blocking[2]
    added = {one.id for one in catalogue() if one.blocks(Profile.NIGHTLY, Level.LAB_K3S)} - SMOKE
    for word in ("monitoring", "backup", "autoscaling", "security", "node_failure", "dr"):
        assert any(word in one for one in added), word


def test_people_and_business_metrics_block_on_hosts_before_the_cutover_only():
    where = frozenset({(Profile.CUTOVER, Level.HOSTS)})
    people = {one.id for one in catalogue() if one.owner == "person"}
    assert people == {
        "operational.runbooks", "operational.training", "operational.incident_response", "phase4.runbooks",
    }  # fmt: skip
    for name in people | BUSINESS:
        assert by_id()[name].blocking == where, name


@pytest.mark.parametrize(
    "name", ["cutover.gpu", "technical.gpu_scheduling", "performance.gpu_utilization", "phase2.gpu"]
)
def test_what_the_lab_simulates_does_not_block_there(name):
    one = by_id()[name]
    assert one.shown_at == {Level.EXISTING, Level.HOSTS}
    assert not any(one.blocks(profile, level) for profile in Profile for level in (*LAB, Level.STUB))
    assert one.blocks(Profile.NIGHTLY, Level.HOSTS)


def test_what_is_uncovered_says_what_it_waits_for():
    for one in catalogue():
        assert bool(missing(one)) is (one.owner == "uncovered")
        assert missing(one) != "a check", f"{one.id}: say what it waits for"


def test_no_answer_is_kept_for_a_criterion_that_has_one():
    from reports.catalogue import _MISSING

    assert set(_MISSING) == {one.id for one in catalogue() if one.owner == "uncovered"}


def test_every_metric_and_mutation_is_about_a_criterion():
    known = by_id()
    assert {criterion for criterion, _ in metric_checks()} <= set(known)
    assert {red for one in MUTATIONS for red in one.reds} | set(NEEDS_HOSTS) <= set(known)


def test_every_covered_criterion_is_broken_by_the_selftest():
    covered = {one.id for one in catalogue() if one.owner != "uncovered"}
    aimed = {red for one in MUTATIONS for red in one.reds} | set(NEEDS_HOSTS)
    assert covered <= aimed, f"no mutation is aimed at {sorted(covered - aimed)}"


def test_the_document_is_what_the_catalogue_gives():
    written = (ROOT / "docs" / "criteria.md").read_text(encoding="utf-8")
    assert written == criteria_doc(), "stale: python -m reports.criteria_doc > docs/criteria.md"
    for name in guide_ids():
        assert written.count(f"| `{name}` |") == 1


def test_blocking_reads_well():
    assert blocks_text(by_id()["technical.servers"]) == "smoke, nightly, cutover: every level"
    assert blocks_text(by_id()["metric.cost"]) == "cutover: hosts"
    assert blocks_text(by_id()["cutover.backup"]) == "nightly, cutover: lab-upstream and up"
