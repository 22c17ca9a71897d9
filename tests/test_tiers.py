from dataclasses import replace
from pathlib import Path

import pytest

from fixtures.mcp_server.table import SERVERS
from provisioners.errors import InputError
from provisioners.tiers import Autoscale, load_tiers

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "fixtures" / "manifests" / "tiers.yaml"


def test_the_sample_is_the_table_of_the_server() -> None:
    tiers = load_tiers(SAMPLE)
    rows = [(row.service, row.name, row.port, row.tier, row.calls) for row in tiers.servers]
    assert rows == [(row.service, row.server, row.port, row.tier, row.calls) for row in SERVERS.values()]
    assert len(rows) == 16
    assert tiers.namespace == "sophia-mcp"
    assert [part.service for part in tiers.extras] == ["playwright", "v0dev"]
    assert [part.service for part in tiers.backends] == ["redis", "postgres"]
    assert [part.service for part in tiers.probes] == ["net-probe"]
    assert [row.service for row in tiers.servers if row.gpu] == ["ai-memory"]


def test_questions() -> None:
    tiers = load_tiers(SAMPLE)
    assert tiers.tier_of("hubspot") == "primary"
    assert tiers.tier_of("redis") == "backend"
    assert tiers.tier_of("stranger") == "core"
    assert tiers.server("redis") is None
    assert tiers.missing([name for name in tiers.order if name != "asana-v2"]) == ("asana-v2",)
    assert not tiers.missing(tiers.order)


def test_a_server_by_each_name_of_its_service() -> None:
    tiers = load_tiers(SAMPLE)
    for row in tiers.servers:
        assert {tiers.server(name) for name in (row.service, *row.also)} == {row}
    assert any(row.also for row in tiers.servers)
    fewer = replace(tiers, servers=tiers.servers[1:])
    assert fewer.server(tiers.servers[0].service) is None
    assert fewer.server(tiers.servers[1].service) == tiers.servers[1]
    assert fewer != tiers == replace(tiers)
    assert "_by_service" not in repr(tiers)


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "tiers.yaml"
    path.write_text(
        "servers:\n"
        "  - {name: a, service: a, port: 0, tier: third, calls: [nobody]}\n"
        "  - {name: a, service: a, port: 80, tier: primary, gpu: maybe, colour: red}\n"
        "extras: nothing\n"
        "backends: [{service: b, port: '1'}]\n"
        "wrong: 1\n"
    )
    with pytest.raises(InputError) as caught:
        load_tiers(path)
    text = str(caught.value)
    for words in (
        "namespace is missing",
        "servers[0].port is 0",
        "servers[0].tier is 'third'",
        "a calls 'nobody'",
        "service 'a' stands in 2 rows",
        "server 'a' stands in 2 rows",
        "servers[1].gpu is 'maybe'",
        "unknown key 'colour'",
        "extras is not a list of rows",
        "backends[0].port is '1'",
        "unknown key 'wrong'",
    ):
        assert words in text


def test_the_core_platform_has_a_table_of_its_own() -> None:
    tiers = load_tiers(SAMPLE)
    core = tiers.core
    assert core
    assert core.namespace == "sophia-ai"
    ports = {part.service: part.port for part in core.parts if part.tier == "core"}
    assert ports == {
        "sophia-backend": 8000,
        "sophia-unified-chat": 8001,
        "sophia-dashboard": 3000,
        "mcp-gateway": 8080,
    }
    assert core.tier_of("postgres") == "backend"
    assert tiers.fitting(["sophia-backend", "postgres", "traefik"]) is core
    assert tiers.fitting(["hubspot", "sophia-backend"]) is tiers
    assert tiers.fitting(["postgres", "redis"]) is tiers
    assert tiers.fitting(tiers.order) is tiers
    assert core.fitting(["hubspot"]) is core


def test_a_server_under_another_name() -> None:
    tiers = load_tiers(SAMPLE)
    assert tiers.server("ai-memory-v2") is tiers.server("ai-memory")
    assert tiers.tier_of("ai-memory-v2") == "primary"
    assert "ai-memory-v2" not in tiers.order


def test_what_kubernetes_adds(tmp_path: Path) -> None:
    path = tmp_path / "tiers.yaml"
    path.write_text(
        "namespace: n\npolicies: true\ningress: {domain: example.com, class: nginx}\n"
        "autoscale: {primary: {min: 2, max: 6, cpu_percent: 70}}\n"
        "servers: [{name: a, service: a, port: 80, tier: primary, autoscale: {max: 3, memory_percent: 75}}]\n"
        "extras: [{service: b, port: 81, autoscale: {max: 2}}]\n"
    )
    tiers = load_tiers(path)
    assert tiers.policies is True
    assert (tiers.ingress_domain, tiers.ingress_class) == ("example.com", "nginx")
    assert tiers.autoscale == {"primary": Autoscale(2, 6, 70)}
    assert tiers.servers[0].autoscale == Autoscale(1, 3, 80, 75)
    assert tiers.extras[0].autoscale == Autoscale(1, 2)
    assert load_tiers(SAMPLE).policies is None


def test_problems_of_what_kubernetes_adds(tmp_path: Path) -> None:
    path = tmp_path / "tiers.yaml"
    path.write_text(
        "namespace: n\npolicies: maybe\ningress: yes\n"
        "autoscale: {third: {max: 2}, primary: {max: many}, secondary: {min: 2}, extra: {min: 5, max: 2}}\n"
        "servers: [{name: a, service: a, also: b, port: 80, tier: primary, autoscale: 3}]\n"
        "extras: [{service: b, port: 81, autoscale: {max: 2, cpu: 5}}]\n"
        "core: {services: [{service: c, port: 1}, {service: c, port: 2}]}\n"
    )
    with pytest.raises(InputError) as caught:
        load_tiers(path)
    text = str(caught.value)
    for words in (
        "policies is 'maybe'",
        "ingress is not a table",
        "autoscale: 'third' is not one of",
        "autoscale.primary.max is 'many'",
        "autoscale.secondary.max is missing",
        "autoscale.extra: max 2 is below min 5",
        "servers[0].also is not a list",
        "servers[0].autoscale is not a table",
        "extras[0].autoscale: unknown key 'cpu'",
        "core: namespace is missing",
        "core: service 'c' stands in 2 rows",
    ):
        assert words in text


@pytest.mark.parametrize("text", ["- a", "servers: []\nservers: []\n"])
def test_other_broken_files(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tiers.yaml"
    path.write_text(text)
    with pytest.raises(InputError):
        load_tiers(path)
