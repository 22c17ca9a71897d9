"""The `deploy` and `healthcheck` of one service in a stack file, as they are fitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioners.compose import units
from provisioners.compose.fit import START_INTERVAL_S, START_PERIOD_S
from provisioners.compose.swarm_values import duration, filled

if TYPE_CHECKING:
    from provisioners.compose.fit import Fit, Shape
    from provisioners.compose.model import Amounts, ChangePolicy, HealthCheck, Service

Object = dict[str, object]


def deploy_of(service: Service, shape: Shape, fit: Fit) -> Object:
    """Return the `deploy` of a service as it is fitted."""
    deploy = service.deploy
    mode = deploy.mode.value if deploy.mode else ""
    found: Object = {"mode": mode} if mode else {}
    if not service.is_global:
        found["replicas"] = shape.replicas
    if fit.entry == "node":
        found["endpoint_mode"] = "dnsrr"
    elif deploy.endpoint_mode:
        found["endpoint_mode"] = deploy.endpoint_mode.value
    restart = {
        "condition": deploy.restart.condition.value if deploy.restart.condition else None,
        "delay": duration(deploy.restart.delay_s),
        "max_attempts": deploy.restart.max_attempts.value if deploy.restart.max_attempts else None,
        "window": duration(deploy.restart.window_s),
    }
    parts = {
        "labels": {var.name: var.value or "" for var in deploy.labels},
        "resources": _resources(deploy.reservations, shape),
        "restart_policy": filled(restart),
        # Swarm refuses both for jobs, which it never updates
        "update_config": {} if mode.endswith("-job") else _change(deploy.update),
        "rollback_config": {} if mode.endswith("-job") else _change(deploy.rollback),
        "placement": _placement(service, shape),
    }
    return {**found, **filled(parts)}


def _placement(service: Service, shape: Shape) -> Object:
    deploy = service.deploy
    if shape.node:
        return {"constraints": [f"node.hostname == {shape.node}"]}
    per_node = (
        1 if shape.spread else deploy.max_replicas_per_node.value if deploy.max_replicas_per_node else None
    )
    return filled(
        {
            "constraints": [one.value for one in deploy.constraints],
            "preferences": [{"spread": one.value} for one in deploy.preferences],
            "max_replicas_per_node": per_node,
        }
    )


def health_of(health: HealthCheck, steady_s: float | None) -> Object:
    """Return a health check; `steady_s` is the fit's interval for a service that has been healthy."""
    if health.disabled and health.disabled.value:
        return {"disable": True}
    test = health.test.value if health.test else ()
    interval, start_period = duration(health.interval_s), duration(health.start_period_s)
    start_interval = duration(health.start_interval_s)
    if steady_s is not None:
        grace_s = health.start_period_s.value if health.start_period_s else 0.0
        interval = units.docker_duration(steady_s)
        start_period = units.docker_duration(max(grace_s, START_PERIOD_S))
        start_interval = units.docker_duration(START_INTERVAL_S)
    return filled(
        {
            "test": ["CMD-SHELL" if health.shell else "CMD", *test] if test else None,
            "interval": interval,
            "timeout": duration(health.timeout_s),
            "retries": health.retries.value if health.retries else None,
            "start_period": start_period,
            "start_interval": start_interval,
        }
    )


def _resources(reservations: Amounts, shape: Shape) -> Object:
    kept: Object = _amounts(shape.cpus_reserved, shape.memory_reserved_bytes)
    if reservations.gpu_count:
        spec = {"discrete_resource_spec": {"kind": "NVIDIA-GPU", "value": reservations.gpu_count}}
        kept["generic_resources"] = [spec]
    return filled({"limits": _amounts(shape.cpus, shape.memory_bytes), "reservations": kept})


def _amounts(cpus: float | None, memory_bytes: int | None) -> Object:
    found: Object = {} if cpus is None else {"cpus": f"{cpus:g}"}
    return found if memory_bytes is None else {**found, "memory": f"{memory_bytes}b"}


def _change(policy: ChangePolicy) -> Object:
    return filled(
        {
            "parallelism": policy.parallelism.value if policy.parallelism else None,
            "delay": duration(policy.delay_s),
            "failure_action": policy.failure_action.value if policy.failure_action else None,
            "monitor": duration(policy.monitor_s),
            "max_failure_ratio": policy.max_failure_ratio.value if policy.max_failure_ratio else None,
            "order": policy.order.value if policy.order else None,
        }
    )
