"""The no-op twin: one start, the Swarm side whole, the Kubernetes side broken in every way there is."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from fixtures.mcp_server.fleet_service import RESTART_S
from fixtures.mcp_server.table import ALL, BACKEND_PORTS, SERVERS
from provisioners.base import Bundle, Kill, ServiceSpec, Side, Target
from provisioners.errors import ProvisionError
from provisioners.noop import MUTATIONS, NoopProvisioner
from provisioners.steps import QuietProgress, run_steps
from provisioners.targets import load_cluster, open_targets, save_cluster

pytestmark = pytest.mark.noop

ROOT = Path(__file__).resolve().parent.parent
BROKEN = "server:asana-v2,tool:slack-v2,peer:hubspot,dns:notion-v2,latency,apply,norecover,nodes,namespace"
SPECS = (
    *(ServiceSpec(r.service, r.tier, 2, (r.port,), r.calls, mcp=r.service in SERVERS) for r in ALL.values()),
    *(ServiceSpec(name, "backend", 1, (port,)) for name, port in BACKEND_PORTS.items()),
    ServiceSpec("net-probe", "probe", 1, (7777,), per_node=True),
)
NAMES = [spec.name for spec in SPECS]


def bundle(
    side: Side, specs: Sequence[ServiceSpec] = SPECS, files: Mapping[str, str] | None = None
) -> Bundle:
    return Bundle(side, "sophia-mcp", files or {}, tuple(specs))


@pytest.fixture(scope="module")
def started():
    """Both sides, as any other process would open them, and what the first apply did."""
    provisioner = NoopProvisioner(BROKEN)
    began = time.monotonic()
    run_steps(provisioner.steps(), progress=QuietProgress())
    targets = open_targets(load_cluster(save_cluster(provisioner.cluster())), SPECS)
    first = {side: target.apply(bundle(side)) for side, target in targets.items()}
    up_s = time.monotonic() - began
    yield provisioner, targets, first, up_s
    provisioner.down(lambda _: None)


@pytest.fixture
def swarm(started):
    return started[1][Side.SWARM]


@pytest.fixture
def kubernetes(started):
    return started[1][Side.KUBERNETES]


def tools(target: Target, service: str) -> list[dict[str, Any]]:
    from mcp import Client

    async def go() -> list[dict[str, Any]]:
        async with Client(f"{target.url(service)}/mcp") as client:
            listed = await client.list_tools()
            return [tool.model_dump() for tool in listed.tools]

    return asyncio.run(go())


def call_peers(target: Target, service: str) -> Any:
    from mcp import Client

    async def go() -> Any:
        async with Client(f"{target.url(service)}/mcp") as client:
            return await client.call_tool("call_peers")

    return asyncio.run(go())


def probe(target: Target, *words: str) -> Any:
    result = target.exec(target.replicas("net-probe")[0], ["gonogo-probe", *words])
    return json.loads(result.stdout)


def test_every_mutation_is_used_here():
    elsewhere = {"identity", "slow", "flaky"}  # tests/test_selftest.py
    used = {word.partition(":")[0] for word in BROKEN.split(",")} | elsewhere
    assert used == {m.partition(":")[0] for m in MUTATIONS}


def test_up_creates_everything_once(started):
    _, _, first, up_s = started
    assert all(len(result.created) == len(SPECS) for result in first.values())
    assert up_s < 30  # 2 s on an idle machine; the bound is for a busy one


def test_applying_again_changes_nothing_but_where_it_is_broken(swarm, kubernetes):
    again = swarm.apply(bundle(Side.SWARM))
    assert (again.changed, len(again.unchanged)) == ((), len(SPECS))
    assert kubernetes.apply(bundle(Side.KUBERNETES)).changed == (NAMES[0],)


def test_readiness(swarm, kubernetes):
    assert set(swarm.wait_ready(NAMES, 5, lambda _: None).ready) == set(NAMES)
    broken = kubernetes.wait_ready(NAMES, 0.2, lambda _: None)
    assert [(failure.service, failure.reason) for failure in broken.failed] == [
        ("asana-v2", "nothing listens")
    ]
    nobody = swarm.wait_ready(["nobody"], 0.1, lambda _: None)
    assert [failure.reason for failure in nobody.failed] == ["not deployed"]


def test_services_and_replicas(swarm):
    services = {service.name: service for service in swarm.services()}
    assert (services["github-v2"].desired, services["github-v2"].ready) == (2, 2)
    assert services["net-probe"].ready == 3
    replicas = swarm.replicas("github-v2")
    assert len({replica.node for replica in replicas}) == len({replica.address for replica in replicas}) == 2
    assert swarm.replicas("nobody") == []


def test_health_over_every_url(swarm):
    for service in ALL:
        assert httpx.get(f"{swarm.url(service)}/health").status_code == 200
    with pytest.raises(ProvisionError, match="no port 1"):
        swarm.url("github-v2", 1)


def test_a_server_that_does_not_listen(kubernetes):
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{kubernetes.url('asana-v2')}/health")


def test_tools_are_the_same_but_where_one_is_changed(swarm, kubernetes):
    assert tools(swarm, "github-v2") == tools(kubernetes, "github-v2")
    assert tools(swarm, "slack-v2") != tools(kubernetes, "slack-v2")


def test_peers(swarm, kubernetes):
    whole = call_peers(swarm, "gong-v2")
    assert not whole.is_error
    assert [row["server"] for row in whole.structured_content["peers"]] == ["hubspot_unified", "ai_memory"]
    assert not call_peers(swarm, "ai-memory").is_error  # its backends answer a connection
    broken = call_peers(kubernetes, "gong-v2")
    assert broken.is_error
    assert {row["peer"]: row["ok"] for row in broken.structured_content["peers"]} == {
        "hubspot": False,
        "ai-memory": True,
    }


def test_names(swarm, kubernetes):
    assert len(probe(swarm, "resolve", "notion-v2")["addresses"]) == 2
    assert swarm.service_address("notion-v2") is None
    assert probe(kubernetes, "resolve", "slack-v2")["addresses"] == [kubernetes.service_address("slack-v2")]
    assert not probe(kubernetes, "resolve", "notion-v2")["ok"]
    assert not probe(swarm, "resolve", "must-not-resolve")["ok"]


def test_latency(swarm, kubernetes):
    rtt = {}
    for target in (swarm, kubernetes):
        address = target.replicas("net-probe")[1].address
        rtt[target.side] = max(probe(target, "tcp", address, "7777", "--count", "4")["rtt_ms"])
    assert rtt[Side.KUBERNETES] > 20 > rtt[Side.SWARM]


def test_only_the_probe_runs(swarm):
    result = swarm.exec(swarm.replicas("github-v2")[0], ["sh", "-c", "true"])
    assert result.returncode == 127


def test_nodes_and_namespaces(swarm, kubernetes):
    assert set(swarm.node_states().values()) == {"ready"}
    assert kubernetes.node_states()["node3"] == "NotReady"
    assert "sophia" in swarm.namespaces()
    assert list(kubernetes.namespaces()) == ["default"]


def test_it_can_kill(swarm):
    assert isinstance(swarm, Kill)


def test_a_killed_replica_comes_back_but_where_it_is_broken(swarm, kubernetes):
    before = {target.side: target.replicas("codacy-v2")[0] for target in (swarm, kubernetes)}
    for target in (swarm, kubernetes):
        target.kill(before[target.side])
        assert not target.replicas("codacy-v2")[0].ready
    time.sleep(3 * RESTART_S)
    after = {target.side: target.replicas("codacy-v2")[0] for target in (swarm, kubernetes)}
    assert (after[Side.SWARM].ready, after[Side.KUBERNETES].ready) == (True, False)
    assert after[Side.SWARM].restarts == 1
    assert after[Side.SWARM].id != before[Side.SWARM].id


def test_a_changed_file_changes_its_service_alone(swarm):
    files = {f"secondary/{name}.yaml": name for name in NAMES}
    swarm.apply(bundle(Side.SWARM, files=files))
    changed = swarm.apply(bundle(Side.SWARM, files={**files, "secondary/v0dev.yaml": "other"}))
    assert changed.changed == ("v0dev",)
    fewer = swarm.apply(bundle(Side.SWARM, [s for s in SPECS if s.name != "v0dev"], files))
    assert fewer.removed == ("v0dev",)
    swarm.apply(bundle(Side.SWARM, files=files))


def test_versions_identity_snapshot(swarm, kubernetes, tmp_path):
    assert swarm.version()["orchestrator"] == "stub"
    assert swarm.identity() != kubernetes.identity()
    swarm.snapshot(tmp_path / "saved")
    assert json.loads((tmp_path / "saved/state.json").read_text())["side"] == "swarm"


def test_down_leaves_nothing():
    provisioner = NoopProvisioner(nodes=1)
    try:
        run_steps(provisioner.steps(), progress=QuietProgress())
        folder = Path(provisioner.cluster().extra["folder"])
        pids = list(provisioner._pids.values())
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
    finally:
        provisioner.down(lambda _: None)
    assert not folder.exists()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    target = open_targets(provisioner.cluster(), ())[Side.SWARM]
    with pytest.raises(ProvisionError, match="does not answer GET /state"):
        target.services()


def test_the_sides_end_when_the_process_that_started_them_is_killed(tmp_path):
    program = """
import os, signal
from provisioners.noop import NoopProvisioner
from provisioners.steps import QuietProgress, run_steps
provisioner = NoopProvisioner(nodes=1)
run_steps(provisioner.steps(), progress=QuietProgress())
print(*provisioner._pids.values(), provisioner.cluster().extra["folder"], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    *pids, folder = done.stdout.split()
    assert len(pids) == 2, done.stderr
    until = time.monotonic() + 5
    while (any(alive(pid) for pid in pids) or Path(folder).exists()) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in pids)
    assert not Path(folder).exists()


def alive(pid: str) -> bool:
    """Whether the process runs; a dead one that nobody has collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
