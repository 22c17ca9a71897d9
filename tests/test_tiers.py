from pathlib import Path

import pytest

from fixtures.mcp_server.table import SERVERS
from provisioners.errors import InputError
from provisioners.tiers import load_tiers

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


@pytest.mark.parametrize("text", ["- a", "servers: []\nservers: []\n"])
def test_other_broken_files(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tiers.yaml"
    path.write_text(text)
    with pytest.raises(InputError):
        load_tiers(path)
