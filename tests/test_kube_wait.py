"""The rules of waiting: what a pod does not recover from, and what is given time."""

from provisioners.kube_objects import parse_pod
from provisioners.kube_wait import Held, pod_failure, pod_waits_for
from tests.kube_rows import pod, pod_row, waiting


def test_an_image_that_cannot_be_pulled_ends_the_wait_at_once():
    reason = pod_failure(pod(state=waiting("ImagePullBackOff", "no such image")), Held())
    assert reason == "ImagePullBackOff: no such image"


def test_one_crash_may_be_an_accident_and_two_are_not():
    ended = {"terminated": {"exitCode": 1, "reason": "Error"}}
    once = pod(state=waiting("CrashLoopBackOff"), restartCount=1, lastState=ended)
    twice = pod(state=waiting("CrashLoopBackOff"), restartCount=2, lastState=ended)
    assert pod_failure(once, Held()) == ""
    assert pod_failure(twice, Held()).startswith(
        "CrashLoopBackOff: 2 restarts, last end: Error, exit status 1"
    )


def test_a_container_that_was_killed_before_the_wait_is_given_time():
    ended = {"terminated": {"exitCode": 137, "reason": "Error"}}
    held = Held()
    assert pod_failure(pod(state=waiting("CrashLoopBackOff"), restartCount=2, lastState=ended), held) == ""
    assert pod_failure(pod(state=waiting("CrashLoopBackOff"), restartCount=4, lastState=ended), held) != ""


def test_a_container_that_cannot_be_made_is_given_a_little_time():
    clock = [0.0]
    held = Held(now=lambda: clock[0])
    stuck = pod(state=waiting("CreateContainerConfigError", 'secret "x" not found'))
    assert pod_failure(stuck, held) == ""
    clock[0] = 16.0
    assert pod_failure(stuck, held) == 'CreateContainerConfigError: secret "x" not found'


def test_a_container_that_ran_meanwhile_starts_its_patience_again():
    clock = [0.0]
    held = Held(now=lambda: clock[0])
    stuck = pod(state=waiting("RunContainerError"))
    assert pod_failure(stuck, held) == ""
    assert pod_failure(pod(), held) == ""
    clock[0] = 16.0
    assert pod_failure(stuck, held) == ""


def test_a_pod_that_no_node_takes_ends_the_wait_after_a_while():
    row = pod_row()
    row["spec"].pop("nodeName")
    no = {"type": "PodScheduled", "status": "False", "message": "Insufficient cpu"}
    row["status"] = {"phase": "Pending", "conditions": [no]}
    clock = [0.0]
    held = Held(now=lambda: clock[0])
    assert pod_failure(parse_pod(row), held) == ""
    assert pod_waits_for(parse_pod(row)) == "a node"
    clock[0] = 31.0
    assert "Insufficient cpu" in pod_failure(parse_pod(row), held)


def test_a_container_that_runs_and_never_gets_ready_ends_the_wait_after_its_own_budget():
    clock = [0.0]
    held = Held(now=lambda: clock[0])
    running = pod()
    assert pod_failure(running, held) == ""
    assert pod_waits_for(running) == "its readiness probe"
    clock[0] = running.startup_budget_s + 59
    assert pod_failure(running, held) == ""
    clock[0] = running.startup_budget_s + 61
    assert pod_failure(running, held).startswith("runs, but not ready after")


def test_a_ready_or_leaving_pod_has_not_failed():
    assert pod_failure(parse_pod(pod_row()), Held()) == ""
    row = pod_row()
    row["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert pod_failure(parse_pod(row), Held()) == ""
