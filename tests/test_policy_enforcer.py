"""The enforcer: what it reads of an API server, and what the kernel then does with pods' packets."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import yaml

from provisioners.base import Cluster, Node
from provisioners.errors import ProvisionError
from provisioners.kube import Resource
from provisioners.parts import part, policy
from provisioners.parts.base import MANIFESTS, PartContext
from provisioners.parts.policy_enforcer import Api, View
from provisioners.shell import CommandResult, Ssh
from tests import security_kube
from tests.policy_api import TOKEN, serve
from tests.test_policy_rules import a_pod, a_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent
API_PORT = 18_080
PODS = {"one": "10.66.1.2", "two": "10.66.1.3"}
LISTEN = (
    "import socket; s = socket.create_server(('', 7777)); print('up', flush=True)\n"
    "while True: s.accept()[0].close()"
)


def write(file: Path, *policies: dict[str, Any], pods: dict[str, str] | None = None) -> None:
    fresh = file.with_suffix(".new")
    rows = [a_pod(name, "a", address, labels={"app": name}) for name, address in (pods or PODS).items()]
    fresh.write_text(
        json.dumps({"pods": rows, "namespaces": [{"metadata": {"name": "a"}}], "policies": list(policies)}),
        encoding="utf-8",
    )
    fresh.replace(file)


def until(what: str, holds: Callable[[], bool], bound_s: float = 10.0) -> None:
    ends = time.monotonic() + bound_s
    while not holds():
        assert time.monotonic() < ends, what
        time.sleep(0.05)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    file = tmp_path / "world.json"
    write(file)
    server = serve(file)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield file, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_view_lists_follows_and_forgets(api: tuple[Path, str]) -> None:
    file, url = api
    changed = threading.Event()
    view = View(Api(url, "", TOKEN), "/api/v1/pods", changed)
    threading.Thread(target=view.follow, daemon=True).start()
    until("two pods", lambda: len(view.rows()) == 2)
    write(file, pods={"one": PODS["one"]})
    until("one pod", lambda: [row["metadata"]["name"] for row in view.rows()] == ["one"])


def test_a_refusal_is_no_empty_world(api: tuple[Path, str]) -> None:
    asked = Api(api[1], "", "wrong")
    with pytest.raises(OSError, match="403"):
        list(asked.lines("/api/v1/pods", 5.0))


def test_a_watch_that_is_too_old_is_told(api: tuple[Path, str]) -> None:
    view = View(Api(api[1], "", TOKEN), "/api/v1/pods", threading.Event())
    with pytest.raises(ValueError, match="too old"):
        view._watch("gone")


def test_a_node_holds_the_program_its_token_and_a_unit() -> None:
    node = Node("node2", Ssh("node2", "192.0.2.7"))
    files = policy.files_of(node, "https://192.0.2.6:6443", b"secret-token", b"ca")
    unit = files["/etc/systemd/system/gonogo-policy.service"].content.decode()
    assert "--node node2" in unit.replace(" \\\n  ", " ")
    assert "ExecStopPost=/usr/bin/python3 -m provisioners.parts.policy_enforcer --flush" in unit
    assert "secret-token" not in unit
    assert files["/etc/gonogo/policy.token"].mode == 0o600
    programs = [path for path in files if path.endswith(".py")]
    assert len(programs) == 2
    for path in programs:  # what a minimal Debian has no module for
        assert b"import http" not in files[path].content
        assert b"urllib.request" not in files[path].content


class Host:
    """A network namespace that stands for a host: a bridge, and two more that stand for its pods."""

    def __init__(self, folder: Path) -> None:
        self.name = f"gng{os.getpid()}"
        self.folder = folder
        self.processes: list[subprocess.Popen[str]] = []

    def run(self, *argv: str, pod: str = "") -> subprocess.CompletedProcess[str]:
        name = f"{self.name}-{pod}" if pod else self.name
        return subprocess.run(
            ["ip", "netns", "exec", name, *argv], capture_output=True, text=True, check=False, timeout=20
        )

    def start(self, *argv: str, pod: str = "") -> subprocess.Popen[str]:
        name = f"{self.name}-{pod}" if pod else self.name
        started = subprocess.Popen(
            ["ip", "netns", "exec", name, *argv], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        self.processes.append(started)
        return started

    def up(self) -> None:
        for name in (self.name, *(f"{self.name}-{pod}" for pod in PODS)):
            subprocess.run(["ip", "netns", "add", name], check=True)
        here = ["ip", "-n", self.name]
        subprocess.run([*here, "link", "add", "cni0", "type", "bridge"], check=True)
        subprocess.run([*here, "addr", "add", "10.66.1.1/24", "dev", "cni0"], check=True)
        for pod, address in PODS.items():
            there = f"{self.name}-{pod}"
            subprocess.run(
                [*here, "link", "add", f"v{pod}", "type", "veth", "peer", "name", "eth0", "netns", there],
                check=True,
            )
            subprocess.run([*here, "link", "set", f"v{pod}", "master", "cni0", "up"], check=True)
            for words in (
                ["addr", "add", f"{address}/24", "dev", "eth0"],
                ["link", "set", "eth0", "up"],
                ["link", "set", "lo", "up"],
            ):
                subprocess.run(["ip", "-n", there, *words], check=True)
        for link in ("cni0", "lo"):
            subprocess.run([*here, "link", "set", link, "up"], check=True)
        switched = self.run(
            "sh", "-c", "echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables && iptables -w 5 -S"
        )
        if switched.returncode:
            pytest.skip(f"this kernel sends no bridged packets through iptables: {switched.stderr.strip()}")

    def down(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        for name in (*(f"{self.name}-{pod}" for pod in PODS), self.name):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def connects(self, source: str, target: str) -> bool:
        code = f"import socket; socket.create_connection(({target!r}, 7777), 1)"
        return self.run(sys.executable, "-c", code, pod=source).returncode == 0


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    if os.geteuid() or not all(map(shutil.which, ("ip", "iptables", "iptables-restore"))):
        pytest.skip("network namespaces need root, ip and iptables")
    made = Host(tmp_path)
    try:
        made.up()
        yield made
    finally:
        made.down()


def test_the_kernel_does_what_the_policies_say(host: Host, tmp_path: Path) -> None:
    world, state, token = tmp_path / "world.json", tmp_path / "state.json", tmp_path / "token"
    write(world)
    token.write_text(TOKEN, encoding="ascii")
    for pod in PODS:
        listener = host.start(sys.executable, "-c", LISTEN, pod=pod)
        assert listener.stdout is not None
        assert listener.stdout.readline() == "up\n"
    host.start(sys.executable, "tests/policy_api.py", str(world), str(API_PORT))
    words = ["--node", "node1", "--server", f"http://127.0.0.1:{API_PORT}"]
    words += ["--token", str(token), "--state", str(state)]
    module = [sys.executable, "-m", "provisioners.parts.policy_enforcer"]
    assert host.connects("one", PODS["two"]), "fails open before it has seen anything"
    enforcer = host.start(*module, *words)
    until("it has a view", state.exists)
    assert host.connects("one", PODS["two"]), "without a policy everything passes"

    write(world, a_policy("trap", "a", podSelector={"matchLabels": {"app": "two"}}, policyTypes=["Ingress"]))
    until("the deny is enforced", lambda: not host.connects("one", PODS["two"]))
    assert host.connects("two", PODS["one"]), "only what is selected is isolated"
    code = f"import socket; socket.create_connection(('{PODS['two']}', 7777), 1)"
    assert host.run(sys.executable, "-c", code).returncode == 0, "the node reaches its own pods"

    allow = a_policy(
        "let", "a", podSelector={"matchLabels": {"app": "two"}}, policyTypes=["Ingress"],
        ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "one"}}}], "ports": [{"port": 7777}]}],
    )  # fmt: skip
    write(world, allow)
    until("the allow is enforced", lambda: host.connects("one", PODS["two"]))

    host.run("iptables", "-w", "5", "-I", "FORWARD", "1", "-j", "ACCEPT")
    write(world, a_policy("all", "a", policyTypes=["Egress"]))
    until("it is first again", lambda: not host.connects("one", PODS["two"]))

    enforcer.kill()  # the hard way: rules stay, as they do when the program is restarted
    enforcer.wait()
    assert not host.connects("one", PODS["two"])
    assert host.run(*module, "--flush", "--state", str(state)).returncode == 0
    assert host.connects("one", PODS["two"]), "switched off, everything passes"
    assert "GONOGO" not in host.run("iptables", "-w", "5", "-S").stdout


# -- the part --------------------------------------------------------------------------------------


class Shell:
    """A node's SSH: answers by the first word that fits, and remembers what was run."""

    host = "node1"

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.ran: list[tuple[str, ...]] = []

    def run(self, argv: Any, **_: Any) -> CommandResult:
        self.ran.append(tuple(argv))
        text = self.answers.get(argv[0], "")
        return CommandResult(tuple(argv), self.host, 1 if text == "fails" else 0, text, "", 0.1)


def a_node(**answers: str) -> tuple[Node, Shell]:
    shell = Shell(**answers)
    return Node("node1", cast("Ssh", shell)), shell


def a_context(node: Node, engine: str) -> PartContext:
    cluster = Cluster("lab", "lab-upstream", (node,), extra={"network_policy_engine": engine})
    kube = security_kube.Kube()
    kube.objects[policy._SECRET] = {
        "data": {name: base64.b64encode(b"x").decode() for name in ("token", "ca.crt")}
    }
    kube.resource = lambda version, kind: Resource(version, kind, f"{kind.lower()}s", namespaced=True)  # type: ignore[attr-defined]
    kube.apply = lambda path, body: {path: body}  # type: ignore[method-assign]
    return PartContext(cluster, cast("Any", kube), {})


def test_an_engine_that_is_there_is_left_alone() -> None:
    node, shell = a_node()
    said: list[str] = []
    policy.apply(a_context(node, "kube-router"), said.append)
    assert (said, shell.ran) == (["kube-router enforces already"], [])


def test_a_host_whose_bridge_passes_the_firewall_by_is_refused() -> None:
    node, _ = a_node(sh="0\n")
    with pytest.raises(ProvisionError, match="bridge-nf-call-iptables is not 1"):
        policy.apply(a_context(node, "none"), lambda _: None)


def test_it_is_installed_waited_for_and_says_that_it_is_a_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    facts: dict[str, str] = {}
    put: list[str] = []
    monkeypatch.setattr(policy, "add_facts", facts.update)
    monkeypatch.setattr(policy, "settle", lambda _node, files, units, _say: put.extend([*files, *units]))
    node, shell = a_node(sh="1\n")
    policy.apply(a_context(node, "none"), lambda _: None)
    assert facts == {"network_policy_engine": "gonogo stand-in"}
    assert put[-1] == "gonogo-policy"
    assert ("test", "-e", "/run/gonogo-policy.json") in shell.ran
    assert part("policy") is policy.PART
    assert "kube-router" in policy.PART.stand_in


def test_it_can_be_switched_off_and_on() -> None:
    node, shell = a_node()
    policy.switch([node], on=False, say=lambda _: None)
    policy.switch([node], on=True, say=lambda _: None)
    assert shell.ran[:2] == [("systemctl", "stop", "gonogo-policy"), ("systemctl", "start", "gonogo-policy")]
    assert policy.state_of(a_node(cat='{"chains": 3}')[0]) == {"chains": 3}
    assert policy.state_of(a_node(cat="fails")[0]) == {}


def test_it_reads_three_kinds_and_writes_none() -> None:
    bodies = list(yaml.safe_load_all((MANIFESTS / "policy.yaml").read_text(encoding="utf-8")))
    role = next(body for body in bodies if body["kind"] == "ClusterRole")
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"get", "list", "watch"}
    resources = {name for rule in role["rules"] for name in rule["resources"]}
    assert resources == {"pods", "namespaces", "networkpolicies"}
