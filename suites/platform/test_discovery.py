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

EYES = "net-probe"
NO_NAME = "gonogo-no-such-service"
AT_ONCE = 3


@pytest.mark.criterion("technical.discovery")
def test_every_name_resolves_to_its_service(
    target: Target, workload: Sequence[ServiceSpec], look: Look, record: Record
) -> None:
    assert workload, "the workload promises no service"
    questions = [(_caller(target, spec, workload), target.dns_name(spec.name)) for spec in workload]
    answers = _ask_all(look, target, questions)
    wrong: list[str] = []
    for spec, (eyes, _), answer in zip(workload, questions, answers, strict=True):
        wrong += _misled(target, spec, eyes, answer)
    record(observed=_percent(len(workload) - len(wrong), len(workload)), unit="%", samples=len(answers))
    assert not wrong, f"{target.side}: {'; '.join(wrong)}"


@pytest.mark.criterion("technical.discovery")
def test_names_resolve_on_every_node_and_wrong_ones_nowhere(
    target: Target, workload: Sequence[ServiceSpec], look: Look, record: Record
) -> None:
    eyes = _eyes(target, workload)
    name = target.dns_name(next(spec for spec in workload if spec.mcp).name)
    right = _ask_all(look, target, [(one, name) for one in eyes])
    wrong = _ask_all(look, target, [(one, NO_NAME) for one in eyes])
    blind = [one.node for one, answer in zip(eyes, right, strict=True) if not answer.get("ok")]
    lies = [one.node for one, answer in zip(eyes, wrong, strict=True) if answer.get("ok")]
    record(observed=_percent(len(eyes) - len(blind), len(eyes)), unit="%", samples=len(right) + len(wrong))
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


def _caller(target: Target, callee: ServiceSpec, workload: Sequence[ServiceSpec]) -> Replica:
    """Return a replica that has to find a service: of one that calls it, since networks keep others apart."""
    for spec in workload:
        if callee.name in spec.calls:
            for one in target.replicas(spec.name):
                if one.ready:
                    return one
    return _eyes(target, workload)[0]


def _ask_all(
    look: Look, target: Target, questions: Sequence[tuple[Replica, str]]
) -> Sequence[Mapping[str, Any]]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda one: look(target, one[0], ["resolve", one[1]]), questions))


def _misled(target: Target, spec: ServiceSpec, eyes: Replica, answer: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with the addresses that a name resolved to."""
    name = target.dns_name(spec.name)
    if not answer.get("ok"):
        return [f"{name} does not resolve in {eyes.service}: {answer.get('error', 'no reason given')}"]
    found = set(answer.get("addresses", ()))
    virtual = target.service_address(spec.name)
    expected = {virtual} if virtual else {one.address for one in target.replicas(spec.name)}
    if not found or not found <= expected:
        return [f"{name} resolves to {sorted(found) or 'nothing'}, its service is at {sorted(expected)}"]
    return []


def _percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else 0.0
