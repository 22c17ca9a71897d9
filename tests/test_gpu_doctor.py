"""The GPU ladder over outputs of the real tools: sound, and each rung broken once, named with its fix."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from provisioners.base import Node
from provisioners.kube import Listing
from provisioners.nvidia_facts import PodFacts, parse_series, parse_smi, read_host, read_node
from provisioners.nvidia_ladder import BROKEN, NOT_REACHED, NOT_TRIED, OK, SIMULATED, first_broken, judge
from provisioners.shell import CommandResult, Ssh
from verbs import doctor

UUID = "GPU-4cf8db2d-06c0-7d70-1a51-e59b25b2c16c"
SMI = f"0, {UUID}, NVIDIA RTX 6000 Ada Generation, 49140, 8012, 74, 550.90.07\n"
TOOLKIT = (
    "NVIDIA Container Runtime version 1.17.8\ncommit: f202b80a9b9d0db00d9b1d73c0128c8962c55f4d\nspec: 1.2.1\n"
)
DCGM = (
    "# HELP DCGM_FI_DEV_GPU_UTIL GPU utilization (in %).\n"
    f'DCGM_FI_DEV_GPU_UTIL{{gpu="0",UUID="{UUID}",device="nvidia0",modelName="RTX 6000",'
    'Hostname="node1",container="x",namespace="sophia-mcp",pod="ai-memory-1"} 74\n'
    f'DCGM_FI_DEV_FB_USED{{gpu="0",UUID="{UUID}",device="nvidia0",pod="ai-memory-1"}} 8010\n'
)
PLAYED = {
    "true": (0, ""),
    "nvidia-smi": (0, SMI),
    "nvidia-container-runtime": (0, TOOLKIT),
    "stat": (0, "1000\n"),
    "sh": (0, "0x8086\n0x10de\n"),
    "systemctl": (0, "@2000\n"),
    "grep": (0, ""),
}
RUNGS = [
    "driver",
    "toolkit",
    "restart order",
    "RuntimeClass",
    "device plugin",
    "allocatable",
    "CUDA pod",
    "DCGM labels",
]


@dataclass(frozen=True, slots=True)
class Host(Ssh):
    said: dict[str, tuple[int, str]] = field(default_factory=dict)

    def run(self, argv: Any, **_: Any) -> CommandResult:
        code, text = {**PLAYED, **self.said}[argv[0]]
        return CommandResult(tuple(argv), self.host, code, text, "", 0.1)


class Api:
    def __init__(self, **changes: Any) -> None:
        self.handler, self.amount, self.dcgm = "nvidia", "1", DCGM
        self.labels = {"nvidia.com/gpu.product": "NVIDIA-RTX-6000"}
        self.pods = [
            pod("nvidia-device-plugin-x", "DaemonSet"),
            pod("dcgm-exporter-x", "DaemonSet"),
            pod("ai-memory-1", gpus=1),
        ]
        self.cuda = CommandResult(("nvidia-smi",), "pod", 0, f"{UUID}\n", "", 0.1)
        for name, value in changes.items():
            setattr(self, name, value)

    def get(self, path: str) -> Any:
        if "runtimeclasses" in path:
            return {"handler": self.handler} if self.handler else None
        return {
            "metadata": {"labels": self.labels},
            "status": {"allocatable": {"nvidia.com/gpu": self.amount}},
        }

    def list_all(self, path: str, **_: str) -> Listing:
        return Listing(tuple(self.pods), "1")

    def text(self, path: str) -> str:
        assert path == "/api/v1/namespaces/n/pods/dcgm-exporter-x:9400/proxy/metrics"
        return self.dcgm

    def exec(self, *_: Any) -> CommandResult:
        return self.cuda


def pod(
    name: str, owner: str = "ReplicaSet", gpus: int = 0, *, ready: str = "True", reason: str = ""
) -> dict[str, Any]:
    limits = {"nvidia.com/gpu": gpus} if gpus else {}
    state = {"waiting": {"reason": reason}} if reason else {"running": {}}
    return {
        "metadata": {"name": name, "namespace": "n", "ownerReferences": [{"kind": owner}]},
        "spec": {"nodeName": "node1", "containers": [{"name": "c", "resources": {"limits": limits}}]},
        "status": {
            "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [{"state": state}],
        },
    }


def _door(api: Api) -> Any:
    return api


def ladder(api: Api | None = None, promised: int = 1, **said: tuple[int, str]) -> Any:
    words = {key.replace("_", "-"): value for key, value in said.items()}
    node = Node("node1", Host("node1", "192.0.2.1", said=words), gpus=promised)
    return judge(read_host(node), read_node(_door(api or Api()), "node1"), promised)


def test_a_sound_host_stands_on_every_rung():
    rungs = ladder()
    assert [rung.name for rung in rungs] == RUNGS
    assert {rung.state for rung in rungs} == {OK}, [rung for rung in rungs if rung.state != OK]
    assert "agree with the driver" in rungs[-1].detail


NO_PLUGIN = [pod("dcgm-exporter-x", "DaemonSet"), pod("ai-memory-1", gpus=1)]
ILL_PLUGIN = [pod("nvidia-device-plugin-x", "DaemonSet", ready="False", reason="CrashLoopBackOff")]
NO_EXPORTER = [pod("nvidia-device-plugin-x", "DaemonSet"), pod("ai-memory-1", gpus=1)]


def answered(code: int | None, out: str = "", err: str = "") -> CommandResult:
    return CommandResult(("nvidia-smi",), "pod", code, out, err, 0.1)


@pytest.mark.parametrize(
    ("name", "host", "api", "detail", "fix"),
    [
        ("driver", {"nvidia_smi": (127, "")}, {}, "not installed", "nvidia-driver"),
        ("driver", {"nvidia_smi": (127, ""), "sh": (0, "0x8086\n")}, {}, "no PCI device", "gpus: 0"),
        (
            "driver",
            {
                "nvidia_smi": (
                    9,
                    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
                )
            },
            {},
            "couldn't communicate",
            "modprobe nvidia",
        ),
        (
            "driver",
            {"nvidia_smi": (18, "Failed to initialize NVML: Driver/library version mismatch")},
            {},
            "library and kernel module differ",
            "reboot",
        ),
        ("toolkit", {"nvidia_container_runtime": (127, "")}, {}, "not installed", "nvidia-container-toolkit"),
        (
            "restart order",
            {"grep": (1, ""), "stat": (0, "3000\n")},
            {},
            "k3s was started before the toolkit was installed",
            "systemctl restart k3s",
        ),
        ("restart order", {"grep": (1, ""), "systemctl": (0, "\n")}, {}, "neither k3s", "systemctl status"),
        ("RuntimeClass", {}, {"handler": ""}, "there is no RuntimeClass", "handler: nvidia"),
        ("RuntimeClass", {}, {"handler": "runc"}, "has the handler runc", "cannot be changed"),
        ("device plugin", {}, {"pods": NO_PLUGIN}, "no pod of a device plugin", "nvidia.com/gpu.present"),
        ("device plugin", {}, {"pods": ILL_PLUGIN}, "CrashLoopBackOff", "kubectl -n n logs"),
        ("allocatable", {}, {"amount": "0"}, "0 of 1 nvidia.com/gpu", "Xid"),
        ("allocatable", {}, {"amount": "500m"}, "no whole number", "logs"),
        (
            "CUDA pod",
            {},
            {"cuda": answered(127, err="not found")},
            "no nvidia-smi",
            "runtimeClassName: nvidia",
        ),
        (
            "CUDA pod",
            {},
            {"cuda": answered(255, "Failed to initialize NVML: Unknown Error")},
            "lost its GPU: Failed to initialize NVML: Unknown Error",
            "daemon-reload",
        ),
        ("CUDA pod", {}, {"cuda": answered(0, "GPU-else\n")}, "which the host does not have", "compare"),
        ("DCGM labels", {}, {"pods": NO_EXPORTER}, "no DCGM exporter", "ServiceMonitor"),
        ("DCGM labels", {}, {"dcgm": "# nothing\n"}, "has no DCGM_FI_DEV_GPU_UTIL", "counters"),
        ("DCGM labels", {}, {"dcgm": DCGM.replace(UUID, "GPU-else")}, f"no series of {UUID}", "logs"),
        ("DCGM labels", {}, {"dcgm": DCGM.replace('UUID="', 'Uuid="')}, "no label UUID", "upgrade"),
        (
            "DCGM labels",
            {},
            {"dcgm": DCGM.replace('pod="ai-memory-1"', 'pod=""')},
            "no series names a pod",
            "DCGM_EXPORTER_KUBERNETES",
        ),
        (
            "DCGM labels",
            {},
            {"dcgm": DCGM.replace("8010", "30000")},
            "the driver says 8012 MiB",
            "nvidia-smi",
        ),
        ("DCGM labels", {}, {"dcgm": DCGM.replace("} 74", "} 0.74")}, "another unit", "nvidia-smi"),
    ],
)
def test_each_rung_broken_is_the_one_that_is_named(
    name: str, host: dict[str, Any], api: dict[str, Any], detail: str, fix: str
):
    rungs = ladder(Api(**api), **host)
    broken = first_broken(rungs)
    assert broken is not None
    assert broken.name == name, broken
    assert detail in broken.detail
    assert fix in broken.fix
    at = RUNGS.index(name)
    assert {rung.state for rung in rungs[:at]} <= {OK}
    assert {rung.state for rung in rungs[at + 1 :]} <= {NOT_REACHED}


def test_fewer_gpus_than_the_inventory_says_is_the_driver_s():
    broken = first_broken(ladder(promised=2))
    assert broken is not None
    assert "sees 1 GPUs, the inventory says 2" in broken.detail


def test_without_a_pod_that_holds_one_nothing_is_claimed():
    pods = [one for one in Api().pods if one["metadata"]["name"] != "ai-memory-1"]
    states = {rung.name: rung.state for rung in ladder(Api(pods=pods))}
    assert states["CUDA pod"] == NOT_TRIED
    assert states["DCGM labels"] == OK


def test_a_stand_in_is_never_called_sound():
    api = Api(labels={"nvidia.com/gpu.product": "SIMULATED-NVIDIA-A10"}, handler="runc")
    states = {rung.name: rung.state for rung in ladder(api, nvidia_smi=(127, ""))}
    assert [states[name] for name in ("driver", "toolkit", "restart order", "CUDA pod")] == [SIMULATED] * 4
    broken = first_broken(ladder(Api(**{**vars(api), "amount": "0"})))
    assert broken is not None
    assert broken.name == "allocatable"


def test_what_the_driver_does_not_tell_is_none():
    _, gpus = parse_smi(f"0, {UUID}, NVIDIA GH200 480GB, 97871, [N/A], [N/A], 560.35\ngarbage\n")
    assert (gpus[0].memory_mib, gpus[0].used_mib, gpus[0].busy_percent) == (97871, None, None)
    assert parse_series("nonsense\nup 1\n") == ()
    assert parse_series(DCGM)[0].labels["modelName"] == "RTX 6000"


def test_the_verb_prints_the_first_broken_link_and_its_fix():
    text = doctor._text(doctor.Ladder("node1", ladder(Api(amount="0"))))
    assert "FAIL gpu node1: allocatable: 0 of 1" in text
    assert "first broken link: allocatable" in text
    assert "-    gpu node1: DCGM labels: not reached" in text
    assert doctor.Ladder("node1", ladder()).ok
    assert not doctor.Ladder("node1", ladder(Api(amount="0"))).ok
    assert not doctor.Ladder("node1", error="no answer").ok
    rows = doctor._rows(doctor.Ladder("node1", ladder(Api(handler=""))))
    assert [row["name"] for row in rows if not row["ok"]] == ["gpu node1: RuntimeClass"]


def test_a_ladder_is_made_of_hosts_with_gpus_and_only_where_something_is_up(monkeypatch: pytest.MonkeyPatch):
    class Down:
        name = "lab"

        def is_up(self) -> bool:
            return False

    assert doctor.ladders_of(Down()) == ()
    facts = replace(
        read_node(_door(Api()), "node1"), plugins=(PodFacts("n", "p", ready=False, why="Pending"),)
    )
    broken = first_broken(judge(read_host(Node("node1", Host("node1", "x"))), facts))
    assert broken is not None
    assert (broken.name, broken.state) == ("device plugin", BROKEN)
