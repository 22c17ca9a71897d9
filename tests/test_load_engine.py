"""The sending process as Locust holds it: begins when told, is read as it goes, ends in order or says why."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtests.client import ENDED_EARLY
from loadtests.engine import Engine
from loadtests.open_loop import run_open_loop
from loadtests.plan import LoadPlan, make_plan
from loadtests.profile import LoadProfile, LoadTargets, Server
from loadtests.record import read_log
from loadtests.sample import TIMES, ErrorKind, read_samples
from tests import bad_server as ways
from tests.bad_server import serving
from tests.test_client import certificate
from tests.tiny_server import tiny_server

pytestmark = pytest.mark.live


def plan_for(url: str, **fields: Any) -> LoadPlan:
    values: dict[str, Any] = {"rate_per_s": 200, "duration_s": 0.6, "warmup_s": 0, "seed": 4} | fields
    profile = LoadProfile("engine", max_extension=1.0, **values)
    return make_plan(profile, LoadTargets((Server("one", url, url),)))


def pid_of(engine: Engine) -> int:
    return engine._process.pid


def drain(engine: Engine) -> tuple[int, list[dict[str, Any]]]:
    rows, lines = 0, []
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        running = engine.running
        lines += engine.lines()
        new = engine.rows()
        assert len(engine.times_of(len(new))) <= len(new) * TIMES.size
        rows += len(new)
        if not running and not len(new):
            return rows, lines
        time.sleep(0.02)
    raise AssertionError("the sender did not end in 10 s")


def test_it_begins_at_the_time_it_is_given_and_is_read_as_it_goes(tmp_path):
    with tiny_server() as server:
        engine = Engine(plan_for(server.url), tmp_path)
        assert engine.wait_ready()
        assert not len(engine.rows()), "nothing is sent before it is told to"
        start_ns = time.monotonic_ns() + 400_000_000
        engine.start(start_ns)
        rows, lines = drain(engine)
        engine.end()
    assert engine._process.returncode == 0
    log = read_samples(tmp_path / "requests.bin")
    assert rows == len(log) == 120
    assert engine.failure == ""
    assert lines[-1]["end"] == "finished"
    began_ns = next(line["start_ns"] for line in lines if "start_ns" in line)
    assert 0 <= began_ns - start_ns + 400_000_000 < 2_000_000_000
    assert log["planned_ns"].min() >= began_ns


def test_a_sender_that_is_told_nothing_sends_nothing(tmp_path):
    with tiny_server() as server:
        engine = Engine(plan_for(server.url), tmp_path)
        assert engine.wait_ready()
        assert engine._process.stdin is not None
        engine._process.stdin.close()
        rows, lines = drain(engine)
    assert rows == 0
    assert lines[-1]["end"] == "stopped"
    assert server.requests <= 4, "the handshake alone"
    engine.end()


def test_it_is_ended_in_order_and_a_killed_one_says_so(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with tiny_server() as server:
        engines = [Engine(plan_for(server.url, duration_s=30.0), tmp_path / name) for name in "ab"]
        for engine in engines:
            assert engine.wait_ready()
            engine.start(time.monotonic_ns())
        while not all(len(read_samples(tmp_path / name / "requests.bin")) for name in "ab"):
            time.sleep(0.02)
        engines[0].end()
        os.kill(pid_of(engines[1]), signal.SIGKILL)
        engines[1]._process.wait()
    assert (engines[0].running, engines[0].failure) == (False, "")
    assert engines[0]._process.returncode == ENDED_EARLY
    assert read_log(tmp_path / "a" / "generator.jsonl").end["end"] == "stopped"
    assert engines[1].failure == "the sending process was killed by SIGKILL"
    assert not read_log(tmp_path / "b" / "generator.jsonl").end


def test_it_sends_over_tls_with_the_ca_that_it_is_given(tmp_path):
    ca_file, context = certificate(tmp_path, "localhost", "127.0.0.1")
    with serving(ways.ok, tls=context) as (server,):
        plan = plan_for(server.url.replace("http:", "https:"), duration_s=0.2)
        engines = [
            Engine(plan, folder(tmp_path / name), ca_file=ca) for name, ca in (("a", ca_file), ("b", None))
        ]
        for engine in engines:
            assert engine.wait_ready()
            engine.start(time.monotonic_ns() + 300_000_000)
        for engine in engines:
            drain(engine)
            engine.end()
    trusted, stranger = (read_samples(tmp_path / name / "requests.bin") for name in "ab")
    assert set(trusted["error"]) == {ErrorKind.NONE}
    assert set(stranger["error"]) == {ErrorKind.TLS}
    assert len(trusted) == len(stranger) == 40


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_a_plan_that_cannot_be_sent_is_no_start(tmp_path):
    refused = Engine(plan_for("http://192.0.2.1:1"), tmp_path)
    assert not refused.wait_ready()
    assert refused._process.wait(5) == 4
    assert refused.failure == "the sending process ended with exit status 4"
    refused.end()


def test_it_ends_with_the_process_that_started_it(tmp_path, monkeypatch):
    with tiny_server() as server:
        plan = plan_for(server.url, duration_s=30.0)
        plan.save(tmp_path)
        child = os.fork()
        if not child:  # starts a sender and is gone
            engine = Engine(plan, tmp_path)
            engine.wait_ready()
            engine.start(time.monotonic_ns())
            (tmp_path / "pid").write_text(str(pid_of(engine)))
            time.sleep(0.6)
            os._exit(0)
        os.waitpid(child, 0)
        pid = int((tmp_path / "pid").read_text())
        deadline = time.monotonic() + 5
        while alive(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not alive(pid)
    assert read_log(tmp_path / "generator.jsonl").end["end"] == "stopped"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_hanging_side_is_counted_and_delays_the_other_by_nothing(tmp_path):
    profile = LoadProfile(
        "hang", 200, 0.7, 0, timeout_s=0.25, drop_after_s=0.15, senders_per_side=4, max_extension=1.0, seed=4
    )
    with tiny_server() as good, tiny_server("never") as hanging:
        targets = LoadTargets((Server("one", good.url, hanging.url),))
        end = run_open_loop(make_plan(profile, targets), targets, tmp_path)
    assert end.complete
    rows = read_samples(tmp_path / "requests.bin")
    swarm, kubernetes = rows[rows["side"] == 0], rows[rows["side"] == 1]
    assert len(swarm) == len(kubernetes) == 70
    assert (swarm["error"] == ErrorKind.NONE).mean() > 0.8, "the hanging side serves nothing at all"
    late_ms = (swarm["sent_ns"][swarm["sent_ns"] > 0] - swarm["planned_ns"][swarm["sent_ns"] > 0]) / 1e6
    assert np.quantile(late_ms, 0.9) < 80, "it would wait 250 ms at a time behind the other side"
    assert set(kubernetes["error"]) == {ErrorKind.TIMEOUT, ErrorKind.DROPPED}


@pytest.mark.parametrize("missing", ["requests.bin", "generator.jsonl", "timings.bin"])
def test_files_that_are_not_there_yet_are_nothing_new(tmp_path, missing):
    with tiny_server() as server:
        engine = Engine(plan_for(server.url), tmp_path)
        (tmp_path / missing).unlink(missing_ok=True)
        assert (len(engine.rows()), engine.lines(), engine.times_of(3)) == (0, [], b"")
        engine.end()
