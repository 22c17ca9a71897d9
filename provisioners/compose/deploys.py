"""Reads the `deploy` table of a service: how many, where, how much, and how it changes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from provisioners.compose import units
from provisioners.compose.model import ALL_GPUS, Amounts, ChangePolicy, Deploy, Given, RestartPolicy
from provisioners.compose.nodes import Node, Table
from provisioners.compose.values import count

if TYPE_CHECKING:
    from provisioners.compose.values import Values

_MODES = frozenset(("replicated", "global", "replicated-job", "global-job"))
_CONDITIONS = frozenset(("none", "on-failure", "any", "unless-stopped"))
_DRIVERS = frozenset(("nvidia", "cdi"))
_GPU_KINDS = frozenset(("gpu", "nvidia-gpu", "nvidia.com/gpu"))


def deploy_of(values: Values, node: Node | None) -> Deploy:
    """Return the typed `deploy` of a service; an absent one asks for nothing."""
    table = values.table(node, "services.*.deploy")
    if table is None:
        return Deploy()
    get = table.get
    resources = _resources(values, get("resources"))
    placement = values.table(get("placement"), "services.*.deploy.placement")
    restart = values.table(get("restart_policy"), "services.*.deploy.restart_policy")
    return Deploy(
        mode=values.word(get("mode"), _MODES),
        replicas=values.read(get("replicas"), count),
        endpoint_mode=values.word(get("endpoint_mode"), frozenset(("vip", "dnsrr"))),
        labels=values.pairs(get("labels")),
        limits=_amounts(values, resources.get("limits"), "limits") if resources else Amounts(),
        reservations=_reservations(values, resources) if resources else Amounts(),
        restart=_restart(values, restart) if restart else RestartPolicy(),
        update=_change(values, get("update_config"), "update_config"),
        rollback=_change(values, get("rollback_config"), "rollback_config"),
        constraints=values.texts(placement.get("constraints")) if placement else (),
        preferences=_preferences(values, placement.get("preferences")) if placement else (),
        max_replicas_per_node=values.read(placement.get("max_replicas_per_node"), count)
        if placement
        else None,
    )


def _resources(values: Values, node: Node | None) -> Table | None:
    """Return the resources; a misplaced `generic_resources` is read where it belongs when mending."""
    if not (values.lenient and isinstance(node, Table) and "generic_resources" in node.entries):
        return values.table(node, "services.*.deploy.resources")
    moved_node = node.entries["generic_resources"]
    entries = {key: value for key, value in node.entries.items() if key != "generic_resources"}
    values.mended.append(
        Given("stands one level too high; read as reservations.generic_resources", moved_node)
    )
    reservations = entries.get("reservations")
    if isinstance(reservations, Table) and "generic_resources" not in reservations.entries:
        inner = {**reservations.entries, "generic_resources": moved_node}
        entries["reservations"] = replace(reservations, entries=inner)
    elif reservations is None:
        inner_table = Table(
            {"generic_resources": moved_node}, node.file, node.line, f"{node.path}.reservations"
        )
        entries["reservations"] = inner_table
    return values.table(replace(node, entries=entries), "services.*.deploy.resources")


def _amounts(values: Values, node: Node | None, key: str) -> Amounts:
    table = values.table(node, f"services.*.deploy.resources.{key}")
    if table is None:
        return Amounts()
    return Amounts(
        cpus=values.read(table.get("cpus"), units.parse_cpus),
        memory_bytes=values.read(table.get("memory"), units.parse_bytes),
        pids=values.read(table.get("pids"), count),
    )


def _reservations(values: Values, resources: Table) -> Amounts:
    amounts = _amounts(values, resources.get("reservations"), "reservations")
    table = resources.get("reservations")
    if not isinstance(table, Table):
        return amounts
    nodes: list[Node] = []
    devices, generic = values.items(table.get("devices")), values.items(table.get("generic_resources"))
    asked = _total([_device(values, item, nodes) for item in devices])
    reserved = _total([_generic(values, item, nodes) for item in generic])
    if reserved is None or (asked is not None and asked.value > reserved.value):
        reserved = asked  # both say the same, one to `docker compose` and one to Swarm
    others = tuple(item for item in (*devices, *generic) if not any(item is node for node in nodes))
    return replace(amounts, gpus=reserved, gpu_nodes=tuple(nodes), other_devices=others)


def with_gpus(values: Values, deploy: Deploy, node: Node | None) -> Deploy:
    """Return `deploy` with what `gpus` of the service asks for: `all`, or devices as it reserves them."""
    items = values.items(node)
    if not items:
        return deploy
    kept = deploy.reservations
    nodes: list[Node] = []
    found: list[Given[int] | None] = []
    for item in items:
        if not isinstance(item, Table):
            nodes.append(item)
            found.append(Given(ALL_GPUS, item))
        elif _is_ours(values, item):
            nodes.append(item)
            found.append(_count(values, item))
    others = tuple(item for item in items if not any(item is one for one in nodes))
    gpus = _total([kept.gpus, *found])
    reservations = replace(
        kept,
        gpus=gpus,
        gpu_nodes=(*kept.gpu_nodes, *nodes),
        other_devices=(*kept.other_devices, *others),
    )
    return replace(deploy, reservations=reservations)


def _total(found: list[Given[int] | None]) -> Given[int] | None:
    """Return how many are asked for together; all of them where one entry wants all."""
    given = [one for one in found if one is not None]
    if not given:
        return None
    whole = any(one.value == ALL_GPUS for one in given)
    return Given(ALL_GPUS if whole else sum(one.value for one in given), given[-1].at)


def _device(values: Values, item: Node, nodes: list[Node]) -> Given[int] | None:
    table = values.table(item, "services.*.deploy.resources.reservations.devices[]")
    if table is None:
        return None
    capabilities = [given.value for given in values.texts(table.get("capabilities"))]
    if not capabilities:
        values.problem(table, "the device has no `capabilities`")
    if "gpu" not in capabilities or not _is_ours(values, table):
        return None
    nodes.append(item)
    return _count(values, table)


def _is_ours(values: Values, table: Table) -> bool:
    """Return whether a device is NVIDIA's, as one is whose driver is not named."""
    driver = values.text(table.get("driver"))
    return driver is None or driver.value in _DRIVERS


def _count(values: Values, table: Table) -> Given[int] | None:
    """Return how many a device entry asks for; Docker takes all where it gives neither number nor ids."""
    if table.get("count") is not None:
        return values.read(table.get("count"), _number)
    return Given(len(values.items(table.get("device_ids"))) or ALL_GPUS, table)


def _number(text: str) -> int:
    return ALL_GPUS if text in {"all", str(ALL_GPUS)} else count(text)


def _generic(values: Values, item: Node, nodes: list[Node]) -> Given[int] | None:
    table = values.table(item, "services.*.deploy.resources.reservations.generic_resources[]")
    where = "services.*.deploy.resources.reservations.generic_resources[].discrete_resource_spec"
    spec = values.table(table.get("discrete_resource_spec"), where) if table else None
    if spec is None:
        return None
    kind, value = values.text(spec.get("kind")), values.read(spec.get("value"), count)
    if kind is None or kind.value.lower() not in _GPU_KINDS:
        return None
    nodes.append(item)
    return value


def _restart(values: Values, table: Table) -> RestartPolicy:
    return RestartPolicy(
        condition=values.word(table.get("condition"), _CONDITIONS),
        delay_s=values.read(table.get("delay"), units.parse_duration_s),
        max_attempts=values.read(table.get("max_attempts"), count),
        window_s=values.read(table.get("window"), units.parse_duration_s),
    )


def _change(values: Values, node: Node | None, key: str) -> ChangePolicy:
    table = values.table(node, f"services.*.deploy.{key}")
    if table is None:
        return ChangePolicy()
    actions = frozenset(("continue", "pause", "rollback"))
    return ChangePolicy(
        parallelism=values.read(table.get("parallelism"), count),
        delay_s=values.read(table.get("delay"), units.parse_duration_s),
        failure_action=values.word(table.get("failure_action"), actions),
        monitor_s=values.read(table.get("monitor"), units.parse_duration_s),
        max_failure_ratio=values.read(table.get("max_failure_ratio"), units.parse_cpus),
        order=values.word(table.get("order"), frozenset(("start-first", "stop-first"))),
    )


def _preferences(values: Values, node: Node | None) -> tuple[Given[str], ...]:
    found = []
    for item in values.items(node):
        table = values.table(item, "services.*.deploy.placement.preferences[]")
        spread = values.text(table.get("spread")) if table else None
        if spread is not None:
            found.append(spread)
    return tuple(found)
