"""Network policies: a small enforcer of our own on each host, where K3s would bring kube-router.

A stand-in: it shows that the policies mean what they should and that a network which enforces them still
works, not that kube-router does the same. Where an engine enforces already nothing is installed.
`switch(nodes, on=False)` takes all of its rules out; starting it again puts them back.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING

from provisioners.errors import ProvisionError
from provisioners.lab.state import add_facts
from provisioners.parts.base import Part, apply_manifest
from provisioners.parts.policy_enforcer import STATE
from provisioners.steps import for_each
from provisioners.upstream.layout import CONFIG, UNITS
from provisioners.upstream.remote import RemoteFile, settle, unit_file
from provisioners.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from provisioners.base import Node
    from provisioners.kube import Kube
    from provisioners.parts.base import PartContext

UNIT = "gonogo-policy"
ENGINE = "gonogo stand-in"
FACT = "network_policy_engine"
_NONE = ("", "none", ENGINE)
_SECRET = f"/api/v1/namespaces/kube-system/secrets/{UNIT}-token"
_FOLDER = "/opt/gonogo/policy"
_MODULE = "provisioners.parts.policy_enforcer"
_PYTHON = "/usr/bin/python3"
_TOKEN_BOUND_S = 30.0
_RUNS_BOUND_S = 60.0
_FACTS = """
sysctl -n net.bridge.bridge-nf-call-iptables && command -v iptables-restore >/dev/null && command -v python3
"""


def apply(context: PartContext, say: Callable[[str], None]) -> None:
    """Run it on every node, and wait until each has programmed what the API server holds.

    Raises:
        ProvisionError: a host does not send its pods' traffic through its firewall.
        NotReady: it did not get that far within its bound.
    """
    engine = context.cluster.extra.get(FACT, "none")
    if engine not in _NONE:
        say(f"{engine} enforces already")
        return
    for_each(context.nodes, _require_bridge)
    apply_manifest(context, "policy.yaml", {})
    wait_until(
        "the enforcer's token is there",
        lambda: "" if _account(context.kube) else "the Secret is empty",
        say,
        bound_s=_TOKEN_BOUND_S,
        where=UNIT,
        next_step=f"kubectl -n kube-system describe secret {UNIT}-token",
    )
    token, authority = _account(context.kube) or (b"", b"")
    server = context.kube.server
    for_each(context.nodes, lambda node: settle(node, files_of(node, server, token, authority), (UNIT,), say))
    await_enforced(context.nodes, say)
    add_facts({FACT: ENGINE})


def switch(nodes: Sequence[Node], *, on: bool, say: Callable[[str], None]) -> None:
    """Start it on every node, or stop it and take its rules out."""
    for_each(
        nodes,
        lambda node: node.ssh.run(["systemctl", "start" if on else "stop", UNIT], timeout_s=90).check(
            f"on {node.name}: journalctl -u {UNIT}"
        ),
    )
    if on:
        await_enforced(nodes, say)


def await_enforced(nodes: Sequence[Node], say: Callable[[str], None]) -> None:
    """Wait until every node says that it holds the rules of a complete view."""
    wait_until(
        "policies are enforced",
        lambda: ", ".join(node.name for node in nodes if not node.ssh.run(["test", "-e", str(STATE)]).ok),
        say,
        bound_s=_RUNS_BOUND_S,
        where=UNIT,
        next_step=f"on the node: journalctl -u {UNIT}",
    )


def files_of(node: Node, server: str, token: bytes, authority: bytes) -> Mapping[str, RemoteFile]:
    """Return what a node holds of it: the program in the folders that its imports name, and a unit."""
    words = ["--node", node.name, "--server", server]
    words += ["--ca", f"{CONFIG}/policy-ca.crt", "--token", f"{CONFIG}/policy.token"]
    here = Path(__file__).parent
    programs = {
        f"{_FOLDER}/provisioners/parts/{name}": RemoteFile((here / name).read_bytes())
        for name in ("policy_rules.py", "policy_enforcer.py")
    }
    return {
        **programs,
        f"{CONFIG}/policy-ca.crt": RemoteFile(authority),
        f"{CONFIG}/policy.token": RemoteFile.secret(token),
        f"{UNITS}/{UNIT}.service": unit_file(
            "NetworkPolicies of the pods of this host",
            [_PYTHON, "-m", _MODULE, *words],
            after="network.target gonogo-pod-network.service kube-proxy.service",
            WorkingDirectory=_FOLDER,
            ExecStopPost=f"{_PYTHON} -m {_MODULE} --flush",
        ),
    }


def _require_bridge(node: Node) -> None:
    """Refuse a host where two pods reach each other past its firewall: denying there would be a show."""
    seen = node.ssh.run(["sh", "-c", _FACTS], timeout_s=30)
    if not seen.ok or seen.stdout.split()[:1] != ["1"]:
        raise ProvisionError(
            "policies cannot be enforced on this host",
            where=node.name,
            why="net.bridge.bridge-nf-call-iptables is not 1, or iptables or python3 is not installed: "
            + (seen.stderr.strip()[-200:] or seen.stdout.strip()[-200:] or "no answer"),
            next_step="modprobe br_netfilter; sysctl -w net.bridge.bridge-nf-call-iptables=1",
        )


def _account(kube: Kube) -> tuple[bytes, bytes] | None:
    data = (kube.get(_SECRET) or {}).get("data") or {}
    if not {"token", "ca.crt"} <= data.keys():
        return None
    return base64.b64decode(data["token"]), base64.b64decode(data["ca.crt"])


def state_of(node: Node) -> Mapping[str, float]:
    """Return what a node's enforcer says of itself: chains, policies; empty if off."""
    seen = node.ssh.run(["cat", str(STATE)])
    found: Mapping[str, float] = json.loads(seen.stdout) if seen.ok else {}
    return found


PART = Part(
    name="policy",
    what="network policies enforced on each host by a program of our own",
    apply=apply,
    stand_in="gonogo's own enforcer in place of K3s's kube-router",
)
