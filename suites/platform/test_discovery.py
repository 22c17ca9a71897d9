"""Every service is found by its name from inside the cluster, at the addresses where it runs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fixtures.inside import Look
    from fixtures.record import Record
    from provisioners.base import Replica, ServiceSpec, Target

    Answers = Mapping[str, Mapping[str, Any]]

EYES = "net-probe"
NO_NAME = "gonogo-no-such-service"


@pytest.mark.criterion("technical.discovery")
def test_every_name_resolves_to_its_service(
    target: Target, workload: Sequence[ServiceSpec], look: Look, record: Record
) -> None:
    assert workload, "the workload promises no service"
    eyes = _eyes(target, workload)[0]
    answers = dict(_resolve(look, target, eyes, [target.dns_name(spec.name) for spec in workload]))
    # A network may keep a service from the probe: then those that call it have to find it.
    for spec in workload:
        name = target.dns_name(spec.name)
        caller = None if answers[name].get("ok") else _caller(target, spec, workload)
        if caller is not None:
            answers |= _resolve(look, target, caller, [name])
    wrong = [text for spec in workload if (text := _misled(target, spec, answers))]
    record(observed=_percent(len(workload) - len(wrong), len(workload)), unit="%", samples=len(answers))
    assert not wrong, f"{target.side}: {'; '.join(wrong)}"


@pytest.mark.criterion("technical.discovery")
def test_names_resolve_on_every_node_and_wrong_ones_nowhere(
    target: Target, workload: Sequence[ServiceSpec], look: Look, record: Record
) -> None:
    name = target.dns_name(next(spec for spec in workload if spec.mcp).name)
    eyes = _eyes(target, workload)
    with ThreadPoolExecutor(len(eyes)) as pool:
        answers = list(pool.map(lambda one: _resolve(look, target, one, [name, NO_NAME]), eyes))
    blind = [one.node for one, seen in zip(eyes, answers, strict=True) if not seen[name].get("ok")]
    lies = [one.node for one, seen in zip(eyes, answers, strict=True) if seen[NO_NAME].get("ok")]
    record(observed=_percent(len(eyes) - len(blind), len(eyes)), unit="%", samples=2 * len(eyes))
    assert not blind, f"{target.side}: {name} does not resolve on {', '.join(blind)}"
    assert not lies, f"{target.side}: {NO_NAME}, which nobody made, resolves on {', '.join(lies)}"


@pytest.mark.criterion("technical.discovery")
def test_every_service_has_its_endpoints(
    target: Target, workload: Sequence[ServiceSpec], record: Record
) -> None:
    wrong: list[str] = []
    endpoints = 0
    for spec in workload:
        addresses = [one.address for one in target.replicas(spec.name) if one.ready]
        endpoints += len(addresses)
        if not addresses:
            wrong.append(f"{spec.name} has no endpoint")
        elif not all(addresses) or len(set(addresses)) != len(addresses):
            wrong.append(f"{spec.name} has endpoints without an address of their own: {addresses}")
    record(observed=_percent(len(workload) - len(wrong), len(workload)), unit="%", samples=endpoints)
    assert not wrong, f"{target.side}: {'; '.join(wrong)}"


def _eyes(target: Target, workload: Sequence[ServiceSpec]) -> Sequence[Replica]:
    """Return the ready replicas to look from: one on each node where there is a probe service."""
    names = [spec.name for spec in workload]
    service = EYES if EYES in names else names[0]
    eyes = [one for one in target.replicas(service) if one.ready]
    assert eyes, f"{target.side}: no replica of {service} is ready to look from"
    return eyes


def _caller(target: Target, callee: ServiceSpec, workload: Sequence[ServiceSpec]) -> Replica | None:
    """Return a ready replica of a service that calls this one."""
    for spec in workload:
        if callee.name in spec.calls:
            for one in target.replicas(spec.name):
                if one.ready:
                    return one
    return None


def _resolve(look: Look, target: Target, replica: Replica, names: Sequence[str]) -> Answers:
    """Return what each name resolves to inside a replica, all asked in one command."""
    answer = look(target, replica, ["resolve", *names])
    answers: Answers = answer.get("names") or {names[0]: answer}
    return answers


def _misled(target: Target, spec: ServiceSpec, answers: Answers) -> str:
    """Say what is wrong with the addresses that a service's name resolved to, if anything."""
    name = target.dns_name(spec.name)
    answer = answers[name]
    if not answer.get("ok"):
        return f"{name} does not resolve: {answer.get('error', 'no reason given')}"
    found = set(answer.get("addresses", ()))
    virtual = target.service_address(spec.name)
    replicas = target.replicas(spec.name)
    own = {address for one in replicas for address in (one.address, *one.addresses)}
    expected = {virtual} if virtual else own
    if not found or not found <= expected:
        return f"{name} resolves to {sorted(found) or 'nothing'}, its service is at {sorted(expected)}"
    return ""


def _percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else 0.0
