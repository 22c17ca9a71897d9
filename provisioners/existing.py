"""Clusters that exist: an inventory, a kubeconfig and the identities that may be written to.

Nothing is installed and nothing is taken down here. The kubeconfig is copied once, so that a
context switched elsewhere while a run goes on has no effect; whoever answers at its address
must be the cluster that the config names, or nothing is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioners.base import Cluster, Side, Step
from provisioners.errors import InputError, ProvisionError, TargetRefused
from provisioners.inventory import read_inventory
from provisioners.kubeconfig import kubeconfig_problems, pin_kubeconfig, read_kubeconfig, require_usable
from provisioners.lab.paths import state_dir
from provisioners.shell import run
from provisioners.steps import for_each, run_steps
from provisioners.targets import open_targets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from provisioners.base import Node, StepResult
    from provisioners.kubeconfig import Kubeconfig
    from provisioners.lab.preflight import Check
    from provisioners.steps import Progress

_LONGEST_FOLDER = 48  # ssh adds 58 characters, and a socket's path has 107 at most
_KEYS = {Side.SWARM: "swarm_id", Side.KUBERNETES: "kube_system_uid"}


@dataclass(frozen=True, slots=True)
class Identity:
    """Which cluster a side must be; empty where the config names none."""

    side: Side
    wanted: str
    found: str

    @property
    def problem(self) -> str:
        """Return why nothing may be written to this cluster; empty when it is the one named."""
        key = _KEYS[self.side]
        if not self.wanted:
            return f"the config names no {key}; the cluster that answers is {self.found}"
        if self.wanted != self.found:
            return f"the config names {key} {self.wanted}, and {self.found} answers"
        return ""


class ExistingProvisioner:
    """A Swarm and a Kubernetes that stand already, checked before anything is written."""

    name = "existing"

    def __init__(
        self,
        *,
        kubeconfig: Path,
        inventory: Path,
        kube_context: str | None = None,
        docker_context: str | None = None,
        kube_system_uid: str | None = None,
        swarm_id: str | None = None,
        namespace: str = "sophia-mcp",
        stack: str = "sophia",
    ) -> None:
        self.kubeconfig = kubeconfig
        self.kube_context = kube_context
        self.inventory = inventory
        self.docker_context = docker_context
        self.wanted = {Side.SWARM: swarm_id or "", Side.KUBERNETES: kube_system_uid or ""}
        self.namespace = namespace
        self.stack = stack
        self._chosen: Kubeconfig | None = None
        self._is_pinned = False

    def steps(self) -> Sequence[Step]:
        """Return the checks, the cheapest first: files, hosts, identities."""
        return (
            Step("kubeconfig", self._check_kubeconfig),
            Step("hosts", self._check_hosts),
            Step("identities", self._check_identities, needs=("kubeconfig", "hosts")),
        )

    def cluster(self) -> Cluster:
        """Return how to reach both sides, through a copy of the kubeconfig that is ours alone."""
        config = self._config()
        name = f"{config.ca_hash[:12] or 'cluster'}-{self.wanted[Side.KUBERNETES][:8] or 'unnamed'}.yaml"
        pinned = state_dir() / "existing" / name
        if not self._is_pinned:
            pin_kubeconfig(config, pinned)
            self._is_pinned = True
        extra = {"kube_ca_sha256": config.ca_hash}
        extra |= {"docker_context": self.docker_context} if self.docker_context else {}
        return Cluster(
            kind="existing",
            level="existing",
            nodes=self._nodes(),
            kubeconfig=pinned,
            kube_context=config.context,
            namespace=self.namespace,
            stack=self.stack,
            extra=extra,
        )

    def preflight(self) -> tuple[Check, ...]:
        """Return every check with its fix; reads only, and asks for nothing."""
        checks = [self._kubeconfig_check()]
        hosts = [_host_check(node) for node in self._nodes()]
        checks += hosts
        if all(check.ok for check in checks):
            checks += [_identity_check(identity) for identity in self._asked()]
        return tuple(checks)

    def is_up(self) -> bool:
        """Return whether both sides answer as the clusters that the config names."""
        try:
            return not any(identity.problem for identity in self._identities())
        except ProvisionError:
            return False

    def up(self, progress: Progress) -> tuple[StepResult, ...]:
        """Check files, hosts and identities; nothing is made."""
        return run_steps(self.steps(), progress=progress)

    def down(self, say: Callable[[str], None]) -> None:
        """Leave the clusters as they are: gonogo did not make them."""
        say("existing clusters stay; only what was deployed is removed")

    def _nodes(self) -> tuple[Node, ...]:
        return read_inventory(self.inventory, control_dir=_control_dir())

    def _config(self) -> Kubeconfig:
        """Return the context as first read: a switch elsewhere meanwhile has no effect."""
        if self._chosen is None:
            self._chosen = read_kubeconfig(self.kubeconfig, self.kube_context)
        return self._chosen

    def _check_kubeconfig(self, say: Callable[[str], None]) -> None:
        config = self._config()
        require_usable(config)
        say(f"context {config.context}, {config.server}")

    def _check_hosts(self, say: Callable[[str], None]) -> None:
        nodes = self._nodes()
        say(f"{len(nodes)} hosts")
        problems = [check for check in for_each(nodes, _host_check) if not check.ok]
        if problems:
            raise TargetRefused(
                f"{len(problems)} of {len(nodes)} hosts cannot be used",
                where=str(self.inventory),
                why="; ".join(f"{check.name}: {check.detail}" for check in problems),
                next_step="; ".join(dict.fromkeys(check.fix for check in problems)),
            )

    def _check_identities(self, say: Callable[[str], None]) -> None:
        identities = self._identities()
        say(", ".join(f"{identity.side} {identity.found}" for identity in identities))
        problems = [identity for identity in identities if identity.problem]
        if problems:
            raise TargetRefused(
                "nothing is written to a cluster that the config does not name",
                where=str(self.kubeconfig),
                why="; ".join(f"{identity.side}: {identity.problem}" for identity in problems),
                next_step="if these are the clusters you mean, set under `target:` "
                + ", ".join(f"{_KEYS[identity.side]}: {identity.found}" for identity in problems),
            )

    def _identities(self) -> tuple[Identity, ...]:
        targets = open_targets(self.cluster(), ())
        return tuple(Identity(side, self.wanted[side], target.identity()) for side, target in targets.items())

    def _asked(self) -> list[Identity | ProvisionError]:
        found: list[Identity | ProvisionError] = []
        for side, target in open_targets(self.cluster(), ()).items():
            try:
                found.append(Identity(side, self.wanted[side], target.identity()))
            except ProvisionError as error:
                found.append(error)
        return found

    def _kubeconfig_check(self) -> Check:
        from provisioners.lab.preflight import Check

        try:
            config = self._config()
        except InputError as error:
            return Check("kubeconfig", ok=False, detail=str(error), fix=error.next_step)
        problems = kubeconfig_problems(config)
        detail = f"context {config.context}, {config.server}"
        return Check(
            "kubeconfig", ok=not problems, detail="; ".join(problems) or detail, fix="; ".join(problems)
        )


def _control_dir() -> Path | None:
    """Return the folder of shared SSH connections; None where its path is too long for a socket's."""
    folder = state_dir() / "ssh"
    if len(str(folder)) > _LONGEST_FOLDER:
        return None
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def ssh_problem(node: Node) -> tuple[str, str]:
    """Return what is wrong with a host's SSH and its fix; ("", "") when a root shell answers."""
    result = node.ssh.run(["id", "-u"], timeout_s=20)
    said = result.stderr.strip()
    if result.ok:
        uid = next((line for line in reversed(result.stdout.split()) if line.isdigit()), "")
        if uid == "0":
            return "", ""
        return f"the user {node.ssh.user} has uid {uid or 'unknown'}", "name root in the inventory"
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in said or "Host key verification failed" in said:
        expected, offered = _fingerprints(node)
        return (
            f"its host key is not the known one: expected {expected}, it offers {offered}",
            "if the host was rebuilt on purpose, replace its line in known_hosts",
        )
    if result.returncode is None:
        return "no answer over SSH within 20 s", "check address, port and firewall in the inventory"
    if "Permission denied" in said:
        return f"SSH refused the key: {said[-200:]}", "check user and key_file in the inventory"
    return f"SSH failed: {said[-300:] or f'exit status {result.returncode}'}", "try the ssh command by hand"


def _fingerprints(node: Node) -> tuple[str, str]:
    """Return the fingerprints that are known and that the host offers, for a person to compare."""
    ssh = node.ssh
    name = ssh.address if ssh.port == 22 else f"[{ssh.address}]:{ssh.port}"  # noqa: PLR2004 - ssh's own
    file = ["-f", str(ssh.known_hosts)] if ssh.known_hosts else []
    known = run(["ssh-keygen", "-l", "-F", name, *file], timeout_s=10)
    scanned = run(["ssh-keyscan", "-T", "5", "-p", str(ssh.port), ssh.address], timeout_s=15)
    offered = run(["ssh-keygen", "-l", "-f", "-"], stdin=scanned.stdout, timeout_s=10)
    return _sha_words(known.stdout) or "none", _sha_words(offered.stdout) or "none"


def _sha_words(text: str) -> str:
    return ", ".join(word for word in text.split() if word.startswith("SHA256:"))


def _host_check(node: Node) -> Check:
    from provisioners.lab.preflight import Check

    detail, fix = ssh_problem(node)
    if not detail:
        docker = node.ssh.run(["docker", "version", "--format", "{{.Server.Version}}"], timeout_s=20)
        if docker.ok:
            return Check(f"host {node.name}", ok=True, detail=f"root, Docker {docker.stdout.strip()}")
        detail = f"docker does not answer: {(docker.stderr or docker.stdout).strip()[-200:]}"
        fix = "start Docker on the host, or take the host out of the inventory"
    return Check(f"host {node.name}", ok=False, detail=detail, fix=fix)


def _identity_check(found: Identity | ProvisionError) -> Check:
    from provisioners.lab.preflight import Check

    if isinstance(found, ProvisionError):
        return Check("identity", ok=False, detail=str(found), fix=found.next_step)
    key = _KEYS[found.side]
    return Check(
        f"identity of {found.side}",
        ok=not found.problem,
        detail=found.problem or f"{key} {found.found}",
        fix=f"if this is the cluster you mean: `{key}: {found.found}` under `target:`",
    )


def require_same(cluster: Cluster, wanted: Mapping[Side, str]) -> None:
    """Raise TargetRefused when a side is no longer the cluster that it was."""
    for side, target in open_targets(cluster, ()).items():
        found = target.identity()
        if side in wanted and wanted[side] != found:
            raise TargetRefused(
                f"the {side} side is another cluster now",
                where=str(cluster.kubeconfig or cluster.kind),
                why=f"it was {wanted[side]}, and {found} answers",
                next_step="nothing was written; look at what changed before the next run",
            )
