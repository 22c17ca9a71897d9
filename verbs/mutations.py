"""What `gonogo selftest` breaks on purpose on the no-op target, and which criteria must turn red by it.

A word is the no-op twin's own (`provisioners.noop.MUTATIONS`), or `input:NAME` for what the run
is given rather than what it meets. What does not interfere is broken in one run, its group.
A mutation of a lab would be a patch of deployed objects; it comes in here as a third kind of word.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from provisioners.base import Cluster

INPUT = "input:"
READING = "reading"  # broken for checks that only read
TRAFFIC = "traffic"  # broken for load, drills and the numbers that come of them


@dataclass(frozen=True, slots=True)
class Mutation:
    """One thing broken on purpose."""

    word: str
    what: str
    reds: tuple[str, ...]
    group: str = READING

    @property
    def of_input(self) -> str:
        """The name of what a run is given broken, or nothing if its target is."""
        return self.word.removeprefix(INPUT) if self.word.startswith(INPUT) else ""


MUTATIONS: tuple[Mutation, ...] = (
    Mutation(
        "server:asana-v2",
        "a secondary server does not listen",
        (
            "technical.servers",
            "cutover.services",
            "phase1.deploy",
            "phase1.health",
            "phase3.secondary_tier",
            "metric.deploy_time",
        ),
    ),
    Mutation("server:linear-v2", "a primary server does not listen", ("phase2.primary_tier",)),
    Mutation("tool:codacy-v2", "a tool has another schema on one side", ("cutover.services",)),
    Mutation("peer:figma-context", "a server cannot be reached by its callers", ("cutover.intercomm",)),
    Mutation("dns:notion-v2", "a name does not resolve", ("technical.discovery",)),
    Mutation("latency", "round trips take 25 ms", ("performance.network_latency", "phase2.latency")),
    Mutation(
        "apply", "a second deploy changes a service", ("operational.deploy_automation", "phase1.automation")
    ),
    Mutation("nodes", "a node is not ready", ("phase2.nodes", "phase1.verify")),
    Mutation("namespace", "the namespace is not there", ("phase1.verify",)),
    Mutation("identity", "an orchestrator does not say who it is", ("phase1.install",)),
    Mutation("input:convert", "a compose key has no place on Kubernetes", ("phase1.convert",)),
    Mutation("input:labels", "a node has no role", ("phase2.labels",)),
    Mutation("input:kubeconfig", "everybody may read the kubeconfig", ("phase1.kubeconfig",)),
    Mutation(
        "input:runbooks",
        "a runbook names a verb that is not there, and the one for incidents is gone",
        ("operational.runbooks", "phase4.runbooks", "operational.incident_response"),
    ),
    Mutation("input:signoffs", "the sign-off is over", ("operational.training",)),
    Mutation("slow", "answers take 25 ms longer", ("performance.response",), TRAFFIC),
    Mutation(
        "flaky",
        "one answer in five is an error",
        ("performance.response", "metric.uptime", "phase2.load_test"),
        TRAFFIC,
    ),
    Mutation(
        "dns:mcp-gateway", "the core platform's gateway has no name", ("phase3.core_platform",), TRAFFIC
    ),
    Mutation("norecover", "a killed replica stays down", ("metric.recovery_time",), TRAFFIC),
    Mutation(
        "input:inputs",
        "nothing is better after the migration",
        (
            "metric.cost",
            "metric.productivity",
            "metric.time_to_market",
            "metric.overhead",
        ),
        TRAFFIC,
    ),
)

# Cannot be shown without hosts: on the no-op target there is nothing to break.
_REHEARSED = "the no-op twin has no mutation of a shift; tests/test_cutover_rehearsal.py breaks one"
NEEDS_HOSTS = {
    "performance.resources": "CPU and memory are read on hosts",
    "metric.efficiency": "CPU and memory are read on hosts",
    "cutover.monitoring": "the no-op twin has no Prometheus",
    "technical.monitoring": "the no-op twin has no Prometheus",
    "phase1.servicemonitor": "the no-op twin has no Prometheus",
    "technical.autoscaling": "the no-op twin has no autoscaler",
    "phase4.hpa": "the no-op twin has no autoscaler",
    "phase4.node_failure": "a node has to be lost",
    "cutover.backup": "the no-op twin holds no data",
    "technical.backup": "the no-op twin holds no data",
    "phase3.backup": "the no-op twin holds no data",
    "phase4.dr": "the no-op twin holds no data",
    "phase4.velero": "the no-op twin has no Velero",
    "technical.security": "the no-op twin has no Kubernetes API",
    "phase4.rbac": "the no-op twin has no Kubernetes API",
    "phase4.network_policy": "the no-op twin has no network of pods",
    "cutover.ingress": "the no-op twin has no Ingress",
    "phase3.blue_green": _REHEARSED,
    "phase3.gates": _REHEARSED,
    "phase3.way_back": _REHEARSED,
    "rollback.traffic": _REHEARSED,
    "rollback.data": _REHEARSED,
    "rollback.post_mortem": _REHEARSED,
    "phase2.join_token": "the no-op twin has no hosts to search",
    "phase2.utilisation": "the no-op twin has no Prometheus",
    "phase3.pvcs": "the no-op twin has no volumes",
    "phase3.ingress": "the no-op twin has no Ingress",
    "cutover.gpu": "the no-op twin has no GPU",
    "technical.gpu_scheduling": "the no-op twin has no GPU",
    "performance.gpu_utilization": "the no-op twin has no GPU",
    "phase2.gpu": "the no-op twin has no GPU",
    "phase2.affinity": "the no-op twin has no scheduler",
}
# Their result before and after may differ by the machine's mood; not red is all that is asked.
NOISY = frozenset({"performance.response", "performance.network_latency", "phase2.latency", "metric.uptime"})

_INPUTS = """\
by: gonogo selftest
until: 2999-12-31
cost:
  before: {{hosts: 5, price: 900 EUR/month}}
  after: {{hosts: {hosts}, price: 900 EUR/month}}
productivity:
  before: {{deploys: 20, work: 400 h}}
  after: {{deploys: {deploys}, work: 400 h}}
time_to_market:
  before: {{wait: 40 h, deploy: 2 h}}
  after: {{wait: {wait} h, deploy: measured}}
overhead:
  before: {{routine: 60 h/month, deploys: 20 /month, per_deploy: 2 h}}
  after: {{routine: {routine} h/month, deploys: 20 /month, per_deploy: measured}}
efficiency:
  before: {{served: 900 requests/s, cpu: 40 cores}}
  after: {{served: 900 requests/s, cpu: {cpu} cores}}
"""
_PEOPLE = ("operational.training", "operational.incident_response", "operational.runbooks", "phase4.runbooks")
_KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: selftest
contexts: [{name: selftest, context: {cluster: selftest}}]
clusters: [{name: selftest, cluster: {server: "https://127.0.0.1:1"}}]
"""


@dataclass(frozen=True, slots=True)
class Given:
    """The files that a run of the selftest is given, in a folder of its own."""

    inputs: Path
    signoffs: Path
    runbooks: Path | None
    compose: Path | None
    kubeconfig: Path | None
    unlabelled: bool

    def cluster(self, cluster: Cluster) -> Cluster:
        """Return the cluster as the suites are told of it."""
        nodes = tuple(
            replace(node, labels={}) if self.unlabelled and not index else node
            for index, node in enumerate(cluster.nodes)
        )
        return replace(cluster, nodes=nodes, kubeconfig=self.kubeconfig or cluster.kubeconfig)


def write_given(folder: Path, broken: frozenset[str]) -> Given:
    """Write what a run is given: sound, but for the names in `broken`."""
    folder.mkdir(parents=True)
    sound = {"hosts": 4, "deploys": 40, "wait": 20, "routine": 20, "cpu": 30}
    worse = {"hosts": 5, "deploys": 20, "wait": 42, "routine": 120, "cpu": 40}
    inputs = folder / "inputs.yaml"
    inputs.write_text(_INPUTS.format(**(worse if "inputs" in broken else sound)), encoding="utf-8")
    until = "2020-12-31" if "signoffs" in broken else "2999-12-31"
    signoffs = folder / "signoffs.yaml"
    rows = [f"- {{criterion: {one}, by: selftest, until: {until}, signed: 2020-01-01}}" for one in _PEOPLE]
    signoffs.write_text("signoffs:\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return Given(
        inputs,
        signoffs,
        _runbooks(folder / "runbooks") if "runbooks" in broken else None,
        _compose(folder / "refused.yml") if "convert" in broken else None,
        _kubeconfig(folder / "kubeconfig") if "kubeconfig" in broken else None,
        "labels" in broken,
    )


def _runbooks(folder: Path) -> Path:
    folder.mkdir()
    for topic in ("deploy", "rollback", "node", "backup"):
        text = f"# {topic}\n\n```sh\ngonogo no-such-verb\n```\n"
        (folder / f"{topic}.md").write_text(text, encoding="utf-8")
    return folder


def _compose(path: Path) -> Path:
    path.write_text("services:\n  figma-context:\n    cgroup_parent: /nowhere\n", encoding="utf-8")
    return path


def _kubeconfig(path: Path) -> Path:
    path.write_text(_KUBECONFIG, encoding="utf-8")
    path.chmod(0o644)
    return path
