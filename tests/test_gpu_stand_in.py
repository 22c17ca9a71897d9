"""The checks that change the stand-in: illness and time-slicing, each seen red when nothing follows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from fixtures.gpu_cluster import SIMULATED_WHY, Gpus
from fixtures.gpu_nodes import GpuNode
from fixtures.gpu_pods import Placement, Seen
from fixtures.record import Record
from suites.gpu import test_gpu_nodes as nodes_suite
from suites.gpu import test_gpu_sharing as sharing

LABELS = {"present": "true", "count": "1", "product": "SIMULATED-NVIDIA-A10", "replicas": "1"}
NODE = GpuNode("node1", "production", 1, 1, LABELS)
GPUS = Gpus((NODE,))
REFUSED = "UnexpectedAdmissionError: maximum request size for shared resources is 1"


@dataclass(slots=True)
class Drill:
    """Answers as a plugin would that does what it is told; `deaf` to some of the words."""

    plays: bool = True
    deaf: tuple[str, ...] = ()
    two: Placement = field(default_factory=lambda: Placement("two", "node1", "Failed", REFUSED))
    gpus_seen: tuple[str, ...] = ("GPU-a",)
    count: int = 1
    put_names: list[str] = field(default_factory=list)

    def device_of(self, _: str) -> str:
        return "GPU-a"

    def change(self, _: str, word: str, value: str) -> None:
        if word not in self.deaf:
            self.count = {"-unhealthy": 0, "-healthy": 1}.get(word, int(value) if value.isdigit() else 0)

    def offers(self, _: str, count: int) -> float | None:
        return 0.3 if count == self.count else None

    def put(self, name: str, **_: object) -> None:
        self.put_names.append(name)

    def placed(self, _: str) -> Placement:
        return self.two

    def runs_or_ends(self, _: str) -> Placement:
        return self.two

    def remove(self, *_: str) -> None:
        pass

    def seen(self, name: str) -> Seen:
        uuid = self.gpus_seen[len(self.put_names) % len(self.gpus_seen)]
        if len(self.gpus_seen) > 1 and name.startswith("slice-"):
            uuid = self.gpus_seen[int(name.rpartition("-")[2]) % len(self.gpus_seen)]
        return Seen((uuid,), ("/dev/nvidia0",), ())


def ran(check: Any, drill: Drill, gpus: Gpus = GPUS) -> Record:
    record = Record()
    door: Any = drill
    check(gpus, door, record)
    return record


def test_an_ill_gpu_is_gone_and_back():
    record = ran(nodes_suite.test_a_sick_gpu_is_not_offered, Drill())
    assert (record.observations[0].observed, record.doubt) == (100.0, SIMULATED_WHY)


@pytest.mark.parametrize(
    ("word", "why"), [("-unhealthy", "still offers 1"), ("-healthy", "does not offer GPU-a again")]
)
def test_a_plugin_that_does_not_tell_is_red(word: str, why: str):
    with pytest.raises(AssertionError, match=why):
        ran(nodes_suite.test_a_sick_gpu_is_not_offered, Drill(deaf=(word,)))


def test_a_real_gpu_that_is_ill_is_red():
    real = replace(NODE, labels={**LABELS, "product": "NVIDIA-A10"})
    assert ran(nodes_suite.test_a_sick_gpu_is_not_offered, Drill(plays=False), Gpus((real,))).doubt == ""
    with pytest.raises(AssertionError, match="not healthy"):
        ran(
            nodes_suite.test_a_sick_gpu_is_not_offered, Drill(plays=False), Gpus((replace(real, capacity=2),))
        )


def test_where_every_gpu_is_taken_nothing_is_claimed():
    busy = Gpus((replace(NODE, taken=1),))
    for check in (
        nodes_suite.test_a_sick_gpu_is_not_offered,
        sharing.test_pods_share_a_gpu_as_far_as_it_is_said,
        sharing.test_slices_multiply_pods_not_gpus,
    ):
        assert ran(check, Drill(), busy).observations[0].samples == 0


def test_slices_are_so_many_pods_on_one_gpu():
    record = ran(sharing.test_slices_multiply_pods_not_gpus, Drill())
    seen = record.observations[0]
    assert (seen.observed, seen.data["slices"], seen.data["most_pods_on_one_gpu"]) == (100.0, 2, 2)
    assert REFUSED in str(seen.data["two_slices"])


def test_slices_that_are_not_offered_or_not_shared_are_red():
    with pytest.raises(AssertionError, match="does not offer 2 times as many"):
        ran(sharing.test_slices_multiply_pods_not_gpus, Drill(deaf=("-replicas",)))
    with pytest.raises(AssertionError, match="2 pods may share a GPU, 1 do"):
        ran(sharing.test_slices_multiply_pods_not_gpus, Drill(gpus_seen=("GPU-a", "GPU-b")))


def test_a_pod_of_two_slices_that_runs_with_one_gpu_is_red():
    with pytest.raises(AssertionError, match="it runs, and sees 1 GPU"):
        ran(sharing.test_slices_multiply_pods_not_gpus, Drill(two=Placement("two", "node1", "Running", "")))
