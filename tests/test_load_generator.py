"""The open-loop generator without Locust: a slow side is measured whole, and delays nobody else."""

from pathlib import Path
from typing import Any

import gevent
import numpy as np
import numpy.typing as npt

from loadtests.generator import Generator
from loadtests.plan import LoadPlan
from loadtests.profile import LoadProfile, Server
from loadtests.record import read_log
from loadtests.sample import ErrorKind, Sample, SampleWriter, read_samples
from tests.tiny_server import tiny_server


def drive(folder: Path, profile: LoadProfile, swarm: str, kubernetes: str) -> npt.NDArray[Any]:
    """Run a generator in this process and return its rows."""
    plan = LoadPlan(profile, (Server("one", swarm, kubernetes),), seed=4)
    plan.save(folder)
    kept: list[Sample] = []
    generator = Generator(plan, folder, kept.append)
    senders = [
        gevent.spawn(generator.run_sender, side) for side in (0, 1) for _ in range(profile.senders_per_side)
    ]
    generator.start()
    gevent.joinall(senders, timeout=10, raise_error=True)
    assert generator.finished
    generator.close()
    log = SampleWriter(folder / "requests.bin")
    for sample in kept:
        log.append(sample)
    log.close()
    assert read_log(folder / "generator.jsonl").end["end"] == "finished"
    return read_samples(folder / "requests.bin")


def test_a_hanging_side_is_counted_and_delays_the_other_by_nothing(tmp_path):
    profile = LoadProfile(
        "hang", 200, 0.7, 0, timeout_s=0.25, drop_after_s=0.15, senders_per_side=4, max_extension=1.0
    )
    with tiny_server() as good, tiny_server("never") as hanging:
        rows = drive(tmp_path, profile, good.url, hanging.url)
    swarm, kubernetes = rows[rows["side"] == 0], rows[rows["side"] == 1]
    assert len(swarm) == len(kubernetes) == 70
    late_ms = (swarm["sent_ns"] - swarm["planned_ns"]) / 1e6
    assert (swarm["error"] == ErrorKind.NONE).mean() > 0.8, "the hanging side serves nothing at all"
    assert np.quantile(late_ms, 0.9) < 80, "it would wait 250 ms at a time behind the other side"
    kinds = set(kubernetes["error"])
    assert kinds == {ErrorKind.TIMEOUT, ErrorKind.DROPPED}
    dropped = kubernetes["error"] == ErrorKind.DROPPED
    assert (kubernetes["sent_ns"][dropped] == 0).all()
    assert dropped.sum() > (~dropped).sum() > 4, "4 senders, a quarter of a second each"
    waited_ms = (kubernetes["done_ns"] - kubernetes["planned_ns"])[~dropped] / 1e6
    assert waited_ms.min() > 249


def test_enough_senders_are_never_late_however_slow_the_answers(tmp_path):
    profile = LoadProfile("slow", 200, 0.4, 0, timeout_s=0.4, senders_per_side=60, max_extension=1.0)
    with tiny_server("never") as hanging:
        rows = drive(tmp_path, profile, hanging.url, hanging.url)
    assert set(rows["error"]) == {ErrorKind.TIMEOUT}
    late_ms = (rows["sent_ns"] - rows["planned_ns"]) / 1e6
    assert np.quantile(late_ms, 0.9) < 100, "with too few senders it would wait 400 ms at a time"
    assert late_ms.min() >= 0
