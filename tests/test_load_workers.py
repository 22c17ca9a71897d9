"""Real Locust processes on loopback: two workers, one killed, the master killed, plain locustfiles.

Marked noop: each takes seconds. All of them run side by side.
"""

import concurrent.futures
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtests.profile import LoadProfile, LoadTargets, Server
from loadtests.record import read_log
from loadtests.run import LoadRun, clean_environment, run_load
from loadtests.run_file import FileRun, run_locustfile
from loadtests.sample import read_samples, read_timings
from loadtests.summarize import summarize
from tests.tiny_server import TinyServer

pytestmark = pytest.mark.noop
ROOT = Path(__file__).resolve().parent.parent
SHORT = LoadProfile("short", 160, 2.0, 0.4, quantiles=(0.5,), seed=5, max_extension=1.0)
LONG = LoadProfile("long", 100, 30, 0)

ORDINARY = """
from locust import FastHttpUser, HttpUser, constant, task

class Fast(FastHttpUser):
    wait_time = constant(0.02)
    @task
    def health(self):
        self.client.get("/health")

class Plain(HttpUser):
    wait_time = constant(0.05)
    @task
    def other(self):
        self.client.get("/other", name="other")
"""
ARRIVALS = """
from locust import FastHttpUser, task
from loadtests.arrivals import ArrivalUser

class Person(ArrivalUser, FastHttpUser):
    arrivals_per_s = 60
    @task
    def twice(self):
        self.client.get("/first")
        self.client.get("/second")
"""
STRAY = """
from locust import FastHttpUser, task

class Stray(FastHttpUser):
    @task
    def away(self):
        self.client.get("http://localhost.invalid/")
"""
BROKEN = "this is no Python\n"


def targets(url: str) -> LoadTargets:
    return LoadTargets(tuple(Server(f"s{i}", url, url) for i in range(2)))


def locusts(folder: Path) -> list[int]:
    """Return the pids of the Locust processes that write into `folder`, the oldest (the master) first."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if b"locust" in words and str(folder).encode() in words:
                found.append(
                    (int((entry / "stat").read_text().rsplit(")", 1)[1].split()[19]), int(entry.name))
                )
        except OSError:
            continue
    return [pid for _, pid in sorted(found)]


def killing(folder: Path, url: str, choose: Callable[[list[int]], int]) -> LoadRun:
    """Run two workers and kill one of the Locust processes once something was sent."""

    def kill() -> None:
        for _ in range(600):
            time.sleep(0.05)
            if len(read_samples(folder / "requests.bin")) and len(pids := locusts(folder)) == 3:
                os.kill(choose(pids), signal.SIGKILL)
                return
        raise AssertionError("two workers did not start within 30 s")

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        return run_load(LONG, targets(url), folder, processes=2)
    finally:
        thread.join()


def file_run(folder: Path, text: str, url: str, processes: int = 1) -> FileRun:
    folder.mkdir()
    file = folder / "mine.py"
    file.write_text(text)
    return run_locustfile(
        file, folder / "out", host=url, duration_s=3.0, users=8, warmup_s=1.0, processes=processes
    )


def plain(folder: Path, name: str, url: str) -> subprocess.CompletedProcess[str]:
    """Run a locustfile of ours as a person would."""
    command = [sys.executable, "-m", "locust", "-f", f"loadtests/{name}.py", "--headless", "--host", url]
    command += [
        "--load-rate",
        "40",
        "--load-duration",
        "1",
        "--load-warmup",
        "0",
        "--load-folder",
        str(folder),
    ]
    return subprocess.run(
        command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=60, check=False
    )


def machines(folder: Path, url: str) -> subprocess.CompletedProcess[str]:
    """Run a master and two workers, each started by itself, as on machines of their own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    base = [sys.executable, "-m", "locust", "-f", "loadtests/health.py"]
    options = ["--headless", "--expect-workers", "2", "--host", url, "--master-bind-port", port]
    options += [
        "--load-rate",
        "40",
        "--load-duration",
        "1",
        "--load-warmup",
        "0",
        "--load-folder",
        str(folder),
    ]
    join = ["--worker", "--master-host", "127.0.0.1", "--master-port", port]
    workers = [
        subprocess.Popen(
            [*base, *join],
            cwd=ROOT,
            env=clean_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(2)
    ]
    try:
        return subprocess.run(
            [*base, "--master", "--master-bind-host", "127.0.0.1", *options],
            cwd=ROOT,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
    finally:
        for worker in workers:
            try:
                worker.wait(15)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()


def web_page(folder: Path, url: str) -> list[int]:
    """Start two tests from Locust's web page, one after the other; return what its page came to count."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    page = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "locust", "-f", "loadtests/health.py", "--host", url]
    command += ["--web-host", "127.0.0.1", "--web-port", str(port), "--load-folder", str(folder)]
    command += ["--load-rate", "40", "--load-duration", "1", "--load-warmup", "0"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=clean_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: "state" in fetch(f"{page}/stats/requests"), 30)
        counted = []
        for log in (folder, folder.with_name(f"{folder.name}-2")):
            ticks = log / "generator.jsonl"
            # Locust says "stopped" a moment before it takes a new start, and ignores one while it runs.
            until(partial(press, f"{page}/swarm", url, ticks), 30, every_s=1.0)
            until(partial(ended, ticks), 30)
            sent = len(read_samples(log / "requests.bin"))
            until(partial(shows, page, sent), 10)  # the page is two seconds old at times
            counted.append(sent)
        return counted
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ended(ticks: Path) -> bool:
    return ticks.exists() and bool(read_log(ticks).end)


def fetch(url: str, body: bytes | None = None) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(url, body, timeout=5) as answer:  # noqa: S310  http, on loopback
            return dict(json.loads(answer.read()))
    except OSError:
        return {}


def counted_by(page: str) -> int:
    """Return how many requests Locust's page shows."""
    rows = fetch(f"{page}/stats/requests").get("stats", [])
    return next((int(row["num_requests"]) for row in rows if row["name"] == "Aggregated"), 0)


def shows(page: str, sent: int) -> bool:
    return counted_by(page) == sent


def press(page: str, url: str, ticks: Path) -> bool:
    """Press the page's button unless the test that it starts has begun; return whether it has."""
    if not ticks.exists():
        fetch(page, f"user_count=1&spawn_rate=1&host={url}".encode())
    return ticks.exists()


def until(done: Callable[[], Any], bound_s: float, every_s: float = 0.1) -> None:
    deadline = time.monotonic() + bound_s
    while not done():
        assert time.monotonic() < deadline, "not within its bound"
        time.sleep(every_s)


@pytest.fixture(scope="module")
def server():
    found = TinyServer()
    yield found
    found.close()


@pytest.fixture(scope="module")
def runs(tmp_path_factory, server):
    folder = tmp_path_factory.mktemp("workers")
    url = server.url
    jobs = {
        "two": lambda: run_load(SHORT, targets(url), folder / "two", processes=2),
        "worker": lambda: killing(folder / "worker", url, lambda pids: pids[-1]),
        "master": lambda: killing(folder / "master", url, lambda pids: pids[0]),
        "ordinary": lambda: file_run(folder / "ordinary", ORDINARY, url),
        "ordinary2": lambda: file_run(folder / "ordinary2", ORDINARY, url, 2),
        "arrivals": lambda: file_run(folder / "arrivals", ARRIVALS, url),
        "stray": lambda: file_run(folder / "stray", STRAY, url),
        "broken": lambda: file_run(folder / "broken", BROKEN, url),
        "health": lambda: plain(folder / "health", "health", url),
        "mixed": lambda: plain(folder / "mixed", "tools_call", url),
        "machines": lambda: machines(folder / "machines", url),
        "web": lambda: web_page(folder / "web", url),
        "refused": lambda: plain(folder / "refused", "paired", "http://192.0.2.1"),
    }
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        futures = {name: pool.submit(job) for name, job in jobs.items()}
        found = {name: future.result(timeout=120) for name, future in futures.items()}
    return found, folder


def test_two_workers_send_the_whole_schedule_and_their_exact_rows_are_one_log(runs):
    run = runs[0]["two"]
    assert (run.complete, run.reason, run.returncode) == (True, "", 0)
    rows = read_samples(run.samples)
    assert sorted(rows["pair"][rows["side"] == 0]) == sorted(rows["pair"][rows["side"] == 1])
    assert len(set(rows["pair"])) * 2 == len(rows) == run.requests == 384
    assert len(read_timings(run.folder / "timings.bin")) == len(rows)
    assert (run.folder / "histograms.bin").stat().st_size > 0
    log = read_log(run.ticks)
    assert log.head["workers"] == 2
    assert [worker["rows"] for worker in log.end["workers"]] == [192, 192]
    summary = summarize(run.folder)
    assert summary.complete
    assert summary.generator.requests == (rows["flags"] == 0).sum()
    assert 0 < summary.generator.cpu < 1
    table = run.log.read_text()
    assert f"Aggregated{' ' * 70}" in table.replace("\r", "")
    assert " 384 " in table, "the web page's numbers count what was sent"


def test_a_killed_worker_ends_the_run_and_is_named(runs):
    run = runs[0]["worker"]
    assert not run.complete
    assert "worker" in run.reason
    assert "of 2" in run.reason
    assert "lost after" in run.reason
    assert 0 < run.requests < 3000
    assert run.duration_s < 30
    assert not summarize(run.folder).complete


def test_a_killed_master_leaves_a_readable_prefix_and_nothing_that_sends(runs):
    run = runs[0]["master"]
    assert not run.complete
    assert "SIGKILL" in run.reason
    assert run.requests > 0
    assert not locusts(run.folder)
    senders = [
        entry
        for entry in Path("/proc").glob("[0-9]*/cmdline")
        if b"loadtests.client" in _read(entry) and b"gonogo-worker" in _read(entry)
    ]
    mine = [entry for entry in senders if _parent(entry) == 1]
    assert not mine, "a sender outlived its Locust"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _parent(cmdline: Path) -> int:
    try:
        return int((cmdline.parent / "stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


@pytest.mark.parametrize(("name", "workers"), [("ordinary", 1), ("ordinary2", 2)])
def test_an_ordinary_locustfile_is_kept_exactly_and_labelled_closed_loop(runs, name, workers):
    summary = runs[0][name].summary
    assert summary is not None
    assert (summary.loop, summary.workers) == ("closed", workers)
    assert "shown, not judged" in summary.to_json()["label"]
    assert {row.name for row in summary.rows} == {"/health", "other"}
    assert all(row.n > 0 and row.errors == 0 and row.p99_ms for row in summary.rows)
    assert summary.warmup > 0
    assert all("hypervisor" in why or "saturated" in why for why in summary.invalid), summary.invalid


def test_arrivals_are_an_open_loop_of_ordinary_tasks(runs):
    summary = runs[0]["arrivals"].summary
    assert summary is not None
    assert summary.loop == "open"
    first, second = (next(row for row in summary.rows if row.name == name) for name in ("/first", "/second"))
    assert abs(first.n - second.n) <= 8
    rows = read_samples(runs[0]["arrivals"].folder / "requests.bin")
    planned_s = np.sort(rows["planned_ns"][rows["planned_ns"] != rows["sent_ns"]].astype("i8")) / 1e9
    assert np.diff(planned_s).mean() == pytest.approx(1 / 60, rel=0.1), "whoever is late, the plan is not"
    assert np.diff(planned_s).min() >= 0.49 / 60
    assert first.p50_ms >= first.sent_p50_ms
    assert second.p50_ms == second.sent_p50_ms


def test_a_request_to_a_stranger_ends_the_run(runs):
    run = runs[0]["stray"]
    assert not run.complete
    assert run.returncode == 4
    assert "which nobody allowed" in run.summary.invalid[0]


def test_a_locustfile_that_does_not_load_is_data_with_its_last_lines(runs):
    run = runs[0]["broken"]
    assert not run.complete
    assert run.summary is None
    assert "exit status" in run.reason
    assert "SyntaxError" in run.reason or "invalid syntax" in run.reason


@pytest.mark.parametrize("name", ["health", "mixed"])
def test_our_locustfiles_run_under_plain_locust(runs, name):
    done, folder = runs[0][name], runs[1] / name
    assert done.returncode == 0, done.stderr
    assert len(read_samples(folder / "requests.bin")) in range(40, 81), "extended where windows were lost"
    assert json.loads((folder / "plan.json").read_text())["profile"]["rate_per_s"] == 40
    assert "Aggregated" in done.stdout + done.stderr


def test_a_master_and_workers_started_by_themselves_share_one_schedule(runs):
    done, folder = runs[0]["machines"], runs[1] / "machines"
    assert done.returncode == 0, done.stderr
    rows = read_samples(folder / "requests.bin")
    assert len(rows) == 40
    assert len(set(rows["pair"])) == 20
    log = read_log(folder / "generator.jsonl")
    assert [(worker["rows"], worker["end"]) for worker in log.end["workers"]] == [(20, "finished")] * 2


def test_the_web_page_starts_one_run_after_the_other_each_in_its_folder(runs):
    folders = [runs[1] / "web", runs[1] / "web-2"]
    counts = [len(read_samples(folder / "requests.bin")) for folder in folders]
    assert all(count >= 40 for count in counts)
    assert runs[0]["web"] == counts
    assert all(read_log(folder / "generator.jsonl").end["end"] == "finished" for folder in folders)


def test_plain_locust_refuses_an_address_that_nobody_allowed(runs):
    done = runs[0]["refused"]
    assert done.returncode == 4
    assert "allow its host by name" in done.stderr
    assert not (runs[1] / "refused").exists()
