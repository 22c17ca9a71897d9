"""Save and open targets: a cluster, a workload and a bundle as JSON, and the two sides from them.

The launcher saves once; every test process and the load generator opens the same targets
from the same text. A bundle is saved with the names of its secrets, never their values.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioners.base import Bundle, Cluster, Node, ServiceSpec, Side, Target
from provisioners.errors import InputError
from provisioners.shell import Ssh

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NOT_OURS = "use a file that gonogo wrote, from the same version"


def save_cluster(cluster: Cluster) -> str:
    """Return the cluster as JSON: paths and addresses only, no key material."""
    return _dump(
        {
            "kind": cluster.kind,
            "level": cluster.level,
            "nodes": [_node_row(node) for node in cluster.nodes],
            "kubeconfig": _text(cluster.kubeconfig),
            "kube_context": cluster.kube_context,
            "namespace": cluster.namespace,
            "stack": cluster.stack,
            "run_id": cluster.run_id,
            "extra": dict(cluster.extra),
        }
    )


def load_cluster(text: str) -> Cluster:
    """Return the cluster that `save_cluster` wrote; raises InputError for anything else."""
    row = _mapping(text, "cluster")
    try:
        return Cluster(
            kind=row["kind"],
            level=row["level"],
            nodes=tuple(_node(node) for node in row["nodes"]),
            kubeconfig=_path(row["kubeconfig"]),
            kube_context=row["kube_context"],
            namespace=row["namespace"],
            stack=row["stack"],
            run_id=row["run_id"],
            extra=dict(row["extra"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _not_a("cluster", error) from error


def save_workload(services: Sequence[ServiceSpec]) -> str:
    """Return what the bundles promise, as JSON."""
    return _dump({"services": [_spec_row(spec) for spec in services]})


def load_workload(text: str) -> tuple[ServiceSpec, ...]:
    """Return the services that `save_workload` wrote; raises InputError for anything else."""
    row = _mapping(text, "workload")
    try:
        return tuple(_spec(item) for item in row["services"])
    except (KeyError, TypeError, ValueError) as error:
        raise _not_a("workload", error) from error


def save_bundle(bundle: Bundle) -> str:
    """Return the bundle as JSON with the names of its secrets and none of their values."""
    return _dump(
        {
            "side": str(bundle.side),
            "namespace": bundle.namespace,
            "files": dict(bundle.files),
            "services": [_spec_row(spec) for spec in bundle.services],
            "secrets": sorted(bundle.secrets),
        }
    )


def load_bundle(text: str, secrets: Mapping[str, bytes]) -> Bundle:
    """Return the bundle that `save_bundle` wrote, with the values of its secrets put back.

    Raises InputError naming every secret whose value is not in `secrets`.
    """
    row = _mapping(text, "bundle")
    try:
        missing = sorted(set(row["secrets"]) - set(secrets))
        if missing:
            raise InputError(
                f"no value for {len(missing)} secret(s) of the bundle",
                why=", ".join(missing),
                next_step="point GONOGO_SECRETS_FILE at the secrets file of the run that made the bundle",
            )
        return Bundle(
            side=Side(row["side"]),
            namespace=row["namespace"],
            files=dict(row["files"]),
            services=tuple(_spec(item) for item in row["services"]),
            secrets={name: secrets[name] for name in row["secrets"]},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _not_a("bundle", error) from error


def open_targets(cluster: Cluster, workload: Sequence[ServiceSpec]) -> dict[Side, Target]:
    """Return both sides of the cluster; nothing is contacted until a method asks."""
    if cluster.kind == "noop":
        from provisioners.noop import NoopTarget

        return {side: NoopTarget(side, cluster, workload) for side in Side}
    from provisioners.kube_target import KubernetesTarget
    from provisioners.swarm_target import SwarmTarget

    return {
        Side.SWARM: SwarmTarget(cluster, workload),
        Side.KUBERNETES: KubernetesTarget(cluster, workload),
    }


def _node_row(node: Node) -> dict[str, object]:
    ssh = node.ssh
    return {
        "name": node.name,
        "control_plane": node.control_plane,
        "labels": dict(node.labels),
        "gpus": node.gpus,
        "index": node.index,
        "ssh": {
            "host": ssh.host,
            "address": ssh.address,
            "port": ssh.port,
            "user": ssh.user,
            "key_file": _text(ssh.key_file),
            "known_hosts": _text(ssh.known_hosts),
            "control_dir": _text(ssh.control_dir),
        },
    }


def _node(row: Mapping[str, Any]) -> Node:
    ssh = row["ssh"]
    return Node(
        name=row["name"],
        control_plane=row["control_plane"],
        labels=dict(row["labels"]),
        gpus=row["gpus"],
        index=row["index"],
        ssh=Ssh(
            host=ssh["host"],
            address=ssh["address"],
            port=ssh["port"],
            user=ssh["user"],
            key_file=_path(ssh["key_file"]),
            known_hosts=_path(ssh["known_hosts"]),
            control_dir=_path(ssh["control_dir"]),
        ),
    )


def _spec_row(spec: ServiceSpec) -> dict[str, object]:
    return {
        "name": spec.name,
        "tier": spec.tier,
        "replicas": spec.replicas,
        "ports": list(spec.ports),
        "calls": list(spec.calls),
        "mcp": spec.mcp,
        "per_node": spec.per_node,
    }


def _spec(row: Mapping[str, Any]) -> ServiceSpec:
    return ServiceSpec(
        name=row["name"],
        tier=row["tier"],
        replicas=row["replicas"],
        ports=tuple(row["ports"]),
        calls=tuple(row["calls"]),
        mcp=row["mcp"],
        per_node=row["per_node"],
    )


def _mapping(text: str, noun: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except json.JSONDecodeError as error:
        raise _not_a(noun, error) from error
    if not isinstance(row, dict):
        raise _not_a(noun, TypeError("it is not a JSON object"))
    return row


def _not_a(noun: str, error: Exception) -> InputError:
    why = f"key {error} is missing" if isinstance(error, KeyError) else str(error)
    return InputError(f"this is not a {noun} file", why=why, next_step=NOT_OURS)


def _dump(row: Mapping[str, object]) -> str:
    return json.dumps(row, indent=1, sort_keys=True) + "\n"


def _text(path: Path | None) -> str | None:
    return str(path) if path else None


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None
