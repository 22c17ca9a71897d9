"""Typed reading of many pods: the same as reading them whole, and an error where it is no list."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import pods_input
from provisioners.kube_objects import parse_pod
from provisioners.kube_pods import read_page

RECORDED = json.loads((Path(__file__).parent / "recorded" / "kube.json").read_text())


def page(*rows: dict[str, Any], **meta: str) -> bytes:
    return json.dumps(
        {"kind": "PodList", "metadata": {"resourceVersion": "7", **meta}, "items": rows}
    ).encode()


def full(row: dict[str, Any]) -> dict[str, Any]:
    """Return a recorded pod with every field set that is read of one, and nulls where the API has them."""
    row = copy.deepcopy(row)
    container = row["status"]["containerStatuses"][0]
    state = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
    ended = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    container |= {"restartCount": 4, "ready": False, "started": None, "state": state, "lastState": ended}
    row["status"]["initContainerStatuses"] = [{**container, "name": "init", "state": None}]
    row["status"] |= {"phase": "Failed", "reason": "Evicted"}
    row["status"]["conditions"].append({"type": "PodScheduled", "status": "False", "message": "no room"})
    row["metadata"] |= {"deletionTimestamp": "2026-11-24T10:00:00Z", "labels": None}
    probe = {"failureThreshold": 9, "periodSeconds": 7, "timeoutSeconds": 8, "initialDelaySeconds": 5}
    row["spec"]["containers"][0] |= {"startupProbe": probe, "readinessProbe": None}
    return row


def planted() -> list[dict[str, Any]]:
    rows = []
    for number, (name, fault) in enumerate(pods_input.plan(60).items()):
        row = {**pods_input._pod(number, name, fault), "status": pods_input._status(number, name, fault)}
        row["metadata"] |= {"uid": f"u{number}", "namespace": "a"}
        rows.append(row)
    return rows


@pytest.mark.parametrize(
    "rows",
    [RECORDED["pods"], [full(row) for row in RECORDED["pods"]], planted()],
    ids=["live", "full", "planted"],
)
def test_a_pod_is_the_same_read_by_types_and_read_whole(rows):
    assert rows
    assert [parse_pod(row) for row in read_page(page(*rows)).rows] == [parse_pod(row) for row in rows]


def test_what_is_not_read_is_not_kept():
    row = read_page(page(RECORDED["pods"][0])).rows[0]
    assert "managedFields" not in row["metadata"]
    assert "volumes" not in row["spec"]


def test_a_page_names_the_next_and_an_empty_list_has_no_rows():
    found = read_page(page(**{"continue": "next"}))
    assert (found.rows, found.more, found.resource_version) == ((), "next", "7")
    assert read_page(b'{"metadata": {}, "items": null}').rows == ()


@pytest.mark.parametrize("data", [b"", b"[]", b'{"items": [{"metadata": {"name": 1}}]}', b"<html>"])
def test_what_is_no_list_of_pods_is_refused(data):
    with pytest.raises(ValueError, match=r"."):
        read_page(data)


def test_every_fault_is_planted_and_most_pods_are_sound():
    faults = list(pods_input.plan(5_000).values())
    assert set(faults) == {"", *pods_input.FAULTS}
    assert faults.count("") == 4_800
