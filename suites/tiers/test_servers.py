"""What was promised is deployed: every service, each tier, exactly as many MCP servers, all healthy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fixtures.record import Record
    from fixtures.web import Get
    from provisioners.base import Service, ServiceSpec, Side, Target

HTTP_OK = 200
HTTP_NOT_FOUND = 404


@pytest.mark.criterion("technical.servers")
def test_every_mcp_server_is_healthy(target: Target, workload: Sequence[ServiceSpec], record: Record) -> None:
    promised = [spec for spec in workload if spec.mcp]
    problems = _problems(target, promised)
    healthy = len(promised) - len(problems)
    record(observed=healthy, unit="servers", samples=len(promised), unhealthy=sorted(problems))
    assert promised, "the workload promises no MCP server"
    assert not problems, f"{target.side}: {healthy} of {len(promised)} healthy; {_listed(problems)}"


@pytest.mark.criterion("phase1.deploy")
def test_every_service_is_as_promised(
    target: Target, workload: Sequence[ServiceSpec], record: Record
) -> None:
    problems = _problems(target, workload)
    record(
        observed=100.0 * (len(workload) - len(problems)) / max(1, len(workload)),
        unit="%",
        samples=len(workload),
    )
    assert not problems, f"{target.side}: {_listed(problems)}"


@pytest.mark.parametrize(
    "tier",
    [
        pytest.param("primary", marks=pytest.mark.criterion("phase2.primary_tier")),
        pytest.param("secondary", marks=pytest.mark.criterion("phase3.secondary_tier")),
    ],
)
def test_tier_is_healthy(target: Target, workload: Sequence[ServiceSpec], tier: str, record: Record) -> None:
    promised = [spec for spec in workload if spec.tier == tier]
    problems = _problems(target, promised)
    labels = {one.name: one.tier for one in target.services()}
    # Where an orchestrator holds no tier at all there is nothing to be wrong about.
    misplaced = [spec.name for spec in promised if labels.get(spec.name) not in {tier, "", None}]
    record(
        observed=100.0 * (len(promised) - len(problems)) / max(1, len(promised)),
        unit="%",
        samples=len(promised),
    )
    assert promised, f"the workload has no service of tier {tier}"
    assert not problems, f"{target.side}, tier {tier}: {_listed(problems)}"
    assert not misplaced, f"{target.side}: not labelled {tier}: {', '.join(misplaced)}"


@pytest.mark.criterion("phase1.deploy")
def test_both_sides_run_the_same_images(both: Mapping[Side, Target], record: Record) -> None:
    images = [{one.name: one.image_id for one in target.services()} for target in both.values()]
    first, second = images
    different = sorted(name for name in first.keys() & second.keys() if first[name] != second[name])
    unknown = sorted(name for name in first.keys() & second.keys() if not first[name])
    record(observed=len(different), unit="services that differ", samples=len(first.keys() & second.keys()))
    assert first.keys() == second.keys(), f"only on one side: {', '.join(first.keys() ^ second.keys())}"
    assert not different, f"not the same image on both sides: {', '.join(different)}"
    if unknown:
        record.inconclusive(f"no image digest known for {', '.join(unknown)}")


@pytest.mark.criterion("phase1.health")
def test_health_and_readiness_answer(
    target: Target, server: ServiceSpec, http_get: Get, record: Record
) -> None:
    answers = {path: http_get(target, server.name, path) for path in ("/health", "/ready")}
    nowhere = http_get(target, server.name, "/gonogo-no-such-page")
    good = sum(answer.status == HTTP_OK for answer in answers.values())
    record(observed=100.0 * good / len(answers), unit="%", samples=len(answers))
    for path, answer in answers.items():
        said = f"status {answer.status}, {answer.start()}"
        assert answer.status == HTTP_OK, f"{target.side}: {server.name}{path}: {said}"
        assert answer.kind == "application/json", (
            f"{target.side}: {server.name}{path} is {answer.kind}, not JSON"
        )
    # Control: a server that answers 200 to everything shows no health by it.
    assert nowhere.status == HTTP_NOT_FOUND, (
        f"{target.side}: {server.name} answers {nowhere.status} to any path"
    )


def _problems(target: Target, promised: Sequence[ServiceSpec]) -> dict[str, str]:
    """Return what is wrong with each service that is not as promised."""
    found = {one.name: one for one in target.services()}
    wrong = {spec.name: _problem(spec, found.get(spec.name), len(target.nodes)) for spec in promised}
    return {name: problem for name, problem in wrong.items() if problem}


def _problem(spec: ServiceSpec, seen: Service | None, nodes: int) -> str:
    if seen is None:
        return "is not deployed"
    replicas = nodes if spec.per_node else spec.replicas
    if seen.desired != replicas:
        return f"wants {seen.desired} replicas, {replicas} were promised"
    if seen.ready != seen.desired or seen.ready == 0:
        return f"has {seen.ready} of {seen.desired} replicas ready"
    missing = sorted(set(spec.ports) - set(seen.ports))
    return f"does not offer port {', '.join(map(str, missing))}" if missing else ""


def _listed(problems: Mapping[str, str]) -> str:
    return "; ".join(f"{name} {problem}" for name, problem in sorted(problems.items()))
