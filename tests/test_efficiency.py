"""CPU and memory per served request: verdicts, negative controls, and a real process that burns."""

from __future__ import annotations

import math
import multiprocessing
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtests.plan import LoadPlan
from loadtests.profile import HEALTH, LoadProfile, Server
from loadtests.sample import ROW_FIELDS
from provisioners.usage import Reading, Usage, _process
from reports.efficiency import (
    Spent,
    UsageWindow,
    efficiency,
    efficiency_evidence,
    resources_evidence,
)
from reports.model import Status
from verbs.resources import every_s, usage_windows


def windows(
    ratio: float = 1.0, memory: float = 1.0, count: int = 12, noise: float = 0.02
) -> list[UsageWindow]:
    draw = np.random.default_rng(1)
    made = []
    for index in range(count):
        a, b = (0.4 * math.exp(noise * draw.normal()) for _ in range(2))
        swarm = Spent(a, 7e8 + index * 1e5, 400, 0.2, 3e8)
        kubernetes = Spent(b * ratio, 7e8 * memory + index * 1e5, 400, 0.5, 9e8)
        made.append(UsageWindow(5.0 * index, 5.0, swarm, kubernetes, 0.3))
    return made


@pytest.mark.parametrize(
    ("ratio", "memory", "status"),
    [
        (1.0, 1.0, Status.PASS),
        (0.5, 1.0, Status.PASS),
        (1.3, 1.0, Status.FAIL),
        (1.0, 1.3, Status.FAIL),
        (1.10, 1.0, Status.INCONCLUSIVE),
    ],
)
def test_the_worse_resource_decides(ratio, memory, status):
    found = efficiency(windows(ratio, memory))
    assert found.status is status
    assert found.cpu.ratio == pytest.approx(ratio, rel=0.03)
    assert found.cpu.low is not None
    assert found.cpu.high is not None
    assert found.cpu.low < ratio < found.cpu.high
    assert found.cpu.swarm == pytest.approx(1.0, rel=0.05), "0.4 s of 400 requests, per thousand"
    row = resources_evidence(found)
    assert (row.criterion, row.status, row.samples) == ("performance.resources", status, 12 * 800)
    assert "orchestrators apart: swarm 0.040 cores and 286 MiB, kubernetes 0.100 cores" in row.why


def test_more_served_for_the_same_cpu_is_cheaper():
    made = [replace(one, kubernetes=replace(one.kubernetes, served=200)) for one in windows()]
    found = efficiency(made)
    assert found.cpu.ratio == pytest.approx(2.0, rel=0.05)
    assert found.status is Status.FAIL


def test_what_was_not_seen_is_never_a_pass():
    assert efficiency([]).status is Status.INCONCLUSIVE
    assert efficiency(windows(count=7)).status is Status.INCONCLUSIVE
    assert resources_evidence(efficiency([])).samples == 0
    lost = efficiency(windows(), ["node2 could not be read"])
    assert lost.status is Status.INVALID
    assert "node2 could not be read" in resources_evidence(lost).why


def test_windows_in_which_containers_were_replaced_are_left_out_and_too_many_are_invalid():
    made = windows(count=20)
    few = [replace(one, broken="replaced") if index in (3, 4) else one for index, one in enumerate(made)]
    assert (efficiency(few).status, efficiency(few).lost) == (Status.PASS, 2)
    many = [replace(one, broken="replaced") if index < 8 else one for index, one in enumerate(made)]
    assert efficiency(many).status is Status.INVALID
    idle = [replace(one, swarm=replace(one.swarm, served=0)) for one in made]
    assert efficiency(idle).status is Status.INVALID


@pytest.mark.parametrize(
    ("ratio", "overhead", "status"),
    [
        (0.5, 0.1, Status.PASS),
        (0.9, 0.2, Status.FAIL),
        (0.5, 2.0, Status.FAIL),
        (0.875, 0.1, Status.INCONCLUSIVE),
    ],
)
def test_efficiency_counts_the_orchestrators_too(ratio, overhead, status):
    made = [
        replace(one, kubernetes=replace(one.kubernetes, overhead_cpu_s=overhead))
        for one in windows(ratio, noise=0.06)
    ]
    assert efficiency_evidence(efficiency(made)).status is status
    assert efficiency_evidence(efficiency([])).status is Status.INCONCLUSIVE
    assert efficiency_evidence(efficiency(made, ["lost"])).status is Status.INVALID


# -- from readings and a log to windows --------------------------------------------------

START_NS = 1_000_000_000


def log(folder: Path, start_ns: int, seconds: float, rate: int = 400) -> None:
    """Write a log in which both sides serve the same, one request after the other."""
    plan = LoadPlan(
        LoadProfile("t", float(rate), seconds, 0.0, workloads=((HEALTH, 1),)),
        (Server("s", "http://127.0.0.1:1", "http://127.0.0.1:2"),),
        seed=1,
    )
    plan.save(folder)
    rows = np.zeros(int(rate * seconds), np.dtype(list(ROW_FIELDS)))
    rows["pair"] = np.arange(len(rows)) // 2
    rows["side"] = np.arange(len(rows)) % 2
    rows["planned_ns"] = start_ns + np.arange(len(rows)) * int(1e9 / rate)
    rows["done_ns"] = rows["planned_ns"] + 1_000_000
    rows.tofile(folder / "requests.bin")
    (folder / "generator.jsonl").write_text(f'{{"start_ns": {start_ns}}}\n')


def readings(kubernetes_per_s: float, members: Any = lambda _at: 3) -> list[Reading]:
    return [
        Reading(
            "n1",
            float(at_s),
            {
                "swarm": Usage(0.1 * at_s, 1e8),
                "kubernetes": Usage(kubernetes_per_s * at_s, 1e8),
                "kubernetes overhead": Usage(0.05 * at_s, 2e8),
            },
            {"swarm": 3, "kubernetes": members(at_s)},
        )
        for at_s in range(0, 70, 2)
    ]


def test_readings_and_the_log_become_windows(tmp_path):
    log(tmp_path, START_NS, 60.0)
    found = usage_windows(readings(0.1), tmp_path, 5.0)
    assert len(found) == 12
    assert [one.duration_s for one in found] == pytest.approx([5.0] * 12)
    for one in found:
        assert one.swarm.served == one.kubernetes.served == pytest.approx(1_000, abs=2)
        assert one.swarm.cpu_s == pytest.approx(0.5)
        assert one.kubernetes.overhead_cpu_s == pytest.approx(0.25)
        assert one.broken == ""
    assert efficiency(found).status is Status.PASS
    assert efficiency(usage_windows(readings(0.13), tmp_path, 5.0)).status is Status.FAIL


def test_a_container_that_was_replaced_breaks_its_windows_only(tmp_path):
    log(tmp_path, START_NS, 60.0)
    found = usage_windows(readings(0.1, lambda at_s: 2 if at_s == 20 else 3), tmp_path, 5.0)
    broken = [one for one in found if one.broken]
    assert 1 <= len(broken) <= 3
    assert "n1 had 2 and then 3 containers of kubernetes" in broken[0].broken


def test_no_log_and_no_readings_are_no_windows(tmp_path):
    log(tmp_path, START_NS, 60.0)
    assert usage_windows([], tmp_path, 5.0) == []
    assert usage_windows(readings(0.1)[:1], tmp_path, 5.0) == []


def test_reading_is_rare_and_enough():
    assert (every_s(60.0), every_s(900.0), every_s(12.0), every_s(1.0)) == (5.0, 5.0, 1.0, 0.5)


def _serve(asked: Any, cpu_s: float) -> None:
    """Burn this much CPU each time it is asked, and say when that is done."""
    while asked.recv():
        end = time.process_time() + cpu_s
        while time.process_time() < end:
            pass
        asked.send("done")


def test_a_side_that_burns_cpu_turns_it_red(tmp_path):
    """Real processes, read as the no-op twin's are; one needs three times the CPU for the same requests."""
    context = multiprocessing.get_context("fork")
    pipes = {side: context.Pipe() for side in ("swarm", "kubernetes")}
    costs = {"swarm": 0.03, "kubernetes": 0.09}
    sides = {
        side: context.Process(target=_serve, args=(pipes[side][1], costs[side]), daemon=True)
        for side in pipes
    }
    for process in sides.values():
        process.start()

    def read(at_s: int) -> Reading:
        parts = {side: _process(Path(f"/proc/{process.pid}")) for side, process in sides.items()}
        return Reading("localhost", float(at_s), parts, dict.fromkeys(parts, 1))

    readings = [read(1)]
    try:
        for second in range(2, 12):
            for side in pipes:
                pipes[side][0].send("serve")
            for side in pipes:
                assert pipes[side][0].poll(30)
                pipes[side][0].recv()
            readings.append(read(second))
    finally:
        for process in sides.values():
            process.kill()
            process.join()
    log(tmp_path, START_NS, 10.0)
    found = efficiency(usage_windows(readings, tmp_path, 1.0))
    assert found.cpu.status is Status.FAIL, found
    assert found.status is Status.FAIL
    assert found.cpu.ratio == pytest.approx(3.0, rel=0.4)
