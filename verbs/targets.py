"""From a config to a provisioner and to the fit of the workloads: the launcher's wiring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provisioners.errors import InputError

if TYPE_CHECKING:
    from provisioners.base import Cluster
    from provisioners.compose.fit import Fit
    from verbs.config import Config


def provisioner_of(config: Config, profile: str = "smoke") -> Any:
    """Return the provisioner that the config names, not yet up, with the parts that the profile needs.

    It has the `Provisioner` protocol and `preflight()`, `is_up()`.
    """
    target = config.target
    if target.kind == "lab":
        from provisioners.lab.lab import Lab

        parts = lab_parts(config, profile)
        current = Lab.current(parts)
        return current if current.is_up() else Lab(nodes=target.nodes, parts=parts)
    if target.kind == "noop":
        from provisioners.noop import NoopProvisioner

        return NoopProvisioner(target.break_)
    from provisioners.existing import ExistingProvisioner

    if target.kubeconfig is None or target.inventory is None:
        raise InputError(
            "an existing target needs `kubeconfig` and `inventory`",
            why="suites read Kubernetes by kubeconfig and Swarm over SSH by inventory",
            next_step="give both under `target:`",
        )
    return ExistingProvisioner(
        kubeconfig=target.kubeconfig,
        kube_context=target.kube_context,
        inventory=target.inventory,
        kube_system_uid=target.kube_system_uid,
        swarm_id=target.swarm_id,
    )


def lab_parts(config: Config, profile: str) -> tuple[str, ...]:
    """Return the platform parts of the lab: those that the config names, else all but for smoke."""
    from provisioners.parts import NAMES

    if config.target.parts is not None:
        return tuple(config.target.parts)
    return () if profile == "smoke" else NAMES


def fit_of(config: Config, cluster: Cluster) -> Fit:
    """Return how the workloads are fitted to this cluster, the same on both sides."""
    from provisioners.compose.fit import Fit, Patch, ServiceFit, Substitute

    scale = config.scale
    return Fit(
        images={pattern: _built_here(config, image) for pattern, image in config.images.items()},
        substitutes={
            name: Substitute(
                image=_built_here(config, item.image),
                command=tuple(item.command) if item.command else None,
                environment=item.environment,
            )
            for name, item in config.substitutes.items()
        },
        replicas=scale.replicas,
        cpus=scale.cpus,
        memory=scale.memory,
        services={
            name: ServiceFit(replicas=item.replicas, cpus=item.cpus, memory=item.memory)
            for name, item in scale.services.items()
        },
        pin_nodes=tuple(node.name for node in cluster.nodes) if scale.pin else (),
        entry=config.entry,
        health_interval_s=scale.health_interval_s,
        policies=config.policies,
        probe_access=bool(config.policies),
        ingress_domain=config.ingress_domain,
        patches=tuple(
            Patch(kind=item.kind, name=item.name, path=item.path, value=item.value) for item in config.patches
        ),
    )


def _built_here(config: Config, image: str) -> str:
    """Return an image of the lab with the tag that its present sources give it; others as they are."""
    if config.target.kind != "lab":
        return image
    from provisioners.lab.images import tagged

    return tagged(image)
