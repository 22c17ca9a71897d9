"""diff: what an upgrade changed, in what ran and in what came out."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from reports.diff import diff
from reports.model import RunError
from tests.sample_run import sample_run


def test_two_equal_runs_differ_in_nothing(tmp_path):
    one, two = (sample_run(tmp_path / name) for name in ("a", "b"))
    found = diff(one.path, two.path)
    assert str(found).endswith("nothing changed")
    assert not any(value for key, value in asdict(found).items() if key not in {"before", "after"})


def test_a_worse_run_says_what_got_worse(tmp_path):
    one = sample_run(tmp_path / "a")
    two = sample_run(tmp_path / "b", ratio=1.4, failing=2)
    two.update_run(versions={"swarm": {"engine": "28.2.2"}, "kubernetes": {"server": "v1.35.0"}})
    two.write_json("steps.json", [{"name": "deploy", "started_s": 0, "duration_s": 90}])
    found = diff(one.path, two.path)
    assert found.verdict is not None
    assert str(found.verdict) == "verdict: GO (smoke, lab-upstream) -> NO-GO (smoke, lab-upstream)"
    assert {change.name for change in found.worse} == {"suite.c00", "suite.c01", "performance.response"}
    assert found.better == ()
    assert [str(change) for change in found.versions] == ["versions.kubernetes.server: v1.34.2 -> v1.35.0"]
    assert all(change.moved for change in found.endpoints)
    assert {change.name for change in found.endpoints} == {
        "health p50",
        "health p95",
        "tools/call p50",
        "tools/call p95",
    }
    assert "deploy: 60.0 s -> 90.0 s" in [str(change) for change in found.steps]
    text = str(found)
    assert "github-v2 refused" in text
    assert "(moved)" in text
    back = diff(two.path, one.path)
    assert {change.name for change in back.better} == {change.name for change in found.worse}


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError):
        diff(tmp_path, tmp_path)
