"""Locust in its own process: a real short run, a killed one, a stopped one, refused targets."""

import concurrent.futures
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest

from loadtests.errors import LoadInputError, LoadRefused
from loadtests.plan import make_plan
from loadtests.profile import LoadProfile, LoadTargets, Server
from loadtests.run import LoadRun, _progress, locust_command, run_load
from loadtests.sample import read_samples
from loadtests.summarize import summarize
from tests.tiny_server import TinyServer

pytestmark = pytest.mark.live

LONG = LoadProfile("long", 100, 30, 0)


def targets(swarm: str, kubernetes: str) -> LoadTargets:
    return LoadTargets(tuple(Server(f"s{i}", swarm, kubernetes) for i in range(2)))


def locust_pid(folder: Path) -> int:
    """Return the pid of the Locust that writes into `folder`, once it has sent something."""
    wanted = "\0".join(locust_command(folder)[1:]).encode()
    for _ in range(200):
        time.sleep(0.05)
        if not len(read_samples(folder / "requests.bin")):
            continue
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if wanted in entry.read_bytes():
                    return int(entry.parent.name)
            except OSError:
                continue
    raise AssertionError("no Locust started within 10 s")


def whole(folder: Path, good: str, bad: str, said: list[str]) -> LoadRun:
    profile = LoadProfile("short", 160, 1.6, 0.2, quantiles=(0.5,), seed=5, max_extension=1.0)
    return run_load(profile, targets(good, bad), folder, say=said.append)


def killed(folder: Path, url: str) -> LoadRun:
    def kill() -> None:
        os.kill(locust_pid(folder), signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        return run_load(LONG, targets(url, url), folder)
    finally:
        thread.join()


def stopped(folder: Path, url: str) -> LoadRun:
    stop = threading.Event()

    def end() -> None:
        locust_pid(folder)
        stop.set()

    thread = threading.Thread(target=end)
    thread.start()
    try:
        return run_load(LONG, targets(url, url), folder, stop=stop)
    finally:
        thread.join()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three runs side by side, to take the time of one."""
    folder = tmp_path_factory.mktemp("load")
    good, bad = TinyServer(), TinyServer("tool_error")
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch, concurrent.futures.ThreadPoolExecutor(3) as pool:
        patch.setattr("loadtests.run._SAY_EVERY_S", 0.5)
        futures = {
            "whole": pool.submit(whole, folder / "whole", good.url, bad.url, said),
            "killed": pool.submit(killed, folder / "killed", good.url),
            "stopped": pool.submit(stopped, folder / "stopped", good.url),
        }
        found = {name: future.result(timeout=60) for name, future in futures.items()}
    good.close()
    bad.close()
    return found, said


def test_a_whole_run_sends_every_planned_request_to_both_sides(runs):
    run = runs[0]["whole"]
    assert (run.complete, run.reason, run.returncode) == (True, "", 0)
    rows = read_samples(run.samples)
    assert len(rows) == run.requests
    assert sorted(rows["pair"][rows["side"] == 0]) == sorted(rows["pair"][rows["side"] == 1])
    assert 1.0 < run.duration_s < 12
    summary = summarize(run.folder)
    assert summary.complete
    assert summary.generator.requests == (rows["flags"] == 0).sum()
    assert summary.generator.exact_timer
    assert 0 < summary.generator.cpu < 1
    assert len(summary.windows) >= 1 or summary.empty


def test_an_error_inside_a_200_is_counted_on_the_side_that_gave_it(runs):
    summary = summarize(runs[0]["whole"].folder)
    by_key = {(row.name, row.side): row for row in summary.errors}
    calls = by_key["tools/call", "kubernetes"]
    assert calls.requests == calls.errors > 0
    assert calls.kinds == {"tool_error": calls.errors}
    assert set(calls.servers) == {"s0", "s1"}
    assert by_key["tools/call", "swarm"].errors == 0
    assert by_key["health", "kubernetes"].errors == 0
    assert {(one.side, one.kind) for one in summary.examples} == {("kubernetes", "tool_error")}
    assert "isError" in summary.examples[0].detail


def test_locusts_own_numbers_are_right(runs):
    run = runs[0]["whole"]
    rows = read_samples(run.samples)
    table = run.log.read_text()
    for side, name in enumerate(("swarm", "kubernetes")):
        mine = rows[(rows["side"] == side) & (rows["workload"] == 1)]
        found = re.search(rf"POST\s+{name} tools/call\s+(\d+)\s+(\d+)\(", table)
        assert found, table
        assert int(found[1]) == len(mine)
        assert int(found[2]) == (mine["error"] != 0).sum()


def test_progress_is_told(runs):
    assert any("requests of" in text and "late" in text for text in runs[1]), runs[1]


def test_a_killed_locust_is_data_with_a_readable_prefix(runs):
    run = runs[0]["killed"]
    assert not run.complete
    assert run.returncode == -signal.SIGKILL
    assert "SIGKILL" in run.reason
    assert run.requests > 0
    summary = summarize(run.folder)
    assert not summary.complete
    assert len(read_samples(run.samples)) == run.requests


def test_a_stopped_run_ends_in_order_and_is_not_complete(runs):
    run = runs[0]["stopped"]
    assert not run.complete
    assert "stopped on request" in run.reason
    assert run.duration_s < 15
    assert '"end": "stopped"' in run.ticks.read_text(), "Locust got SIGTERM and closed its log"


def test_refused_before_anything_is_started(tmp_path):
    with pytest.raises(LoadRefused):
        run_load(LONG, targets("http://127.0.0.1:1", "http://192.0.2.1:80"), tmp_path / "a")
    with pytest.raises(LoadInputError):
        run_load(LONG, targets("http://127.0.0.1:1", "http://127.0.0.1:1"), tmp_path / "a", cpus="zero")
    assert not (tmp_path / "a").exists()


def test_progress_says_when_a_run_is_made_longer_or_falls_silent():
    plan = make_plan(LONG, targets("http://127.0.0.1:1", "http://127.0.0.1:1"))
    tail = {
        "sent": {"swarm": 5, "kubernetes": 4},
        "errors": {"swarm": 0, "kubernetes": 2},
        "late": 1,
        "dropped": 0,
        "rounds": plan.measured_rounds,
        "at_ns": 10**9,
    }
    assert _progress(plan, {}, 1.0) == "load: starting Locust"
    assert _progress(plan, tail, 1.0) == (
        "load: 9 requests of 3000, errors 0 on swarm and 2 on kubernetes, 1 late, 0 dropped"
    )
    longer = _progress(plan, {**tail, "rounds": plan.measured_rounds + 100}, 9.0)
    assert "8 s longer, windows were lost to the hypervisor" in longer
    assert "last heard of 8 s ago" in longer


def test_a_locust_that_crashes_is_data_with_its_last_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "loadtests.run.locust_command", lambda _folder: ["/bin/sh", "-c", "echo boom; exit 3"]
    )
    run = run_load(LONG, targets("http://127.0.0.1:1", "http://127.0.0.1:1"), tmp_path)
    assert not run.complete
    assert "exit status 3" in run.reason
    assert "boom" in run.reason
    assert run.requests == 0


def test_a_locust_that_sends_nothing_is_not_complete(tmp_path, monkeypatch):
    monkeypatch.setattr("loadtests.run.locust_command", lambda _folder: ["/bin/true"])
    run = run_load(LONG, targets("http://127.0.0.1:1", "http://127.0.0.1:1"), tmp_path)
    assert not run.complete
    assert "without sending" in run.reason


def test_a_locust_that_never_ends_is_ended_at_its_bound(tmp_path, monkeypatch):
    monkeypatch.setattr("loadtests.run.locust_command", lambda _folder: ["/bin/sleep", "60"])
    monkeypatch.setattr("loadtests.run._START_BOUND_S", 0.0)
    monkeypatch.setattr("loadtests.run._END_BOUND_S", 0.0)
    profile = LoadProfile("tiny", 1000, 0.1, 0, timeout_s=0.1)
    run = run_load(profile, targets("http://127.0.0.1:1", "http://127.0.0.1:1"), tmp_path)
    assert not run.complete
    assert "bound" in run.reason
    assert run.returncode == -signal.SIGTERM
