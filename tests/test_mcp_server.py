"""The reference MCP server: its table, settings, guard, stores, endpoints and tools."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from fixtures.mcp_server.app import ServerApp, open_backends
from fixtures.mcp_server.guard import HostGuard
from fixtures.mcp_server.peers import Peers
from fixtures.mcp_server.settings import Settings, SettingsError, from_env
from fixtures.mcp_server.state import MemoryState, PostgresState, RedisState
from fixtures.mcp_server.table import ALL, EXTRAS, SERVERS
from provisioners.tiers import load_tiers

ROOT = Path(__file__).resolve().parent.parent
REDIS, POSTGRES = "redis://redis:6379", "postgresql://sophia@postgres:5432/sophia_ai"


class Down(MemoryState):
    """A backend that never answers."""

    kind = "redis"

    async def ping(self):
        raise ConnectionRefusedError("nobody there")


class Call:
    """One HTTP client on an application that runs."""

    def __init__(self, app: ServerApp) -> None:
        transport = httpx.ASGITransport(app)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://playwright:9020")

    async def tool(self, name: str, **arguments):
        accept = {"accept": "application/json, text/event-stream"}
        call = {"name": name, "arguments": arguments}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
        return (await self.http.post("/mcp", json=body, headers=accept)).json()["result"]


def on(app: ServerApp, ask):
    """Run `ask(Call)` while the application runs."""

    async def go() -> Any:
        async with app.running():
            return await ask(Call(app))

    return asyncio.run(go())


def playwright(backends=None, **more) -> ServerApp:
    settings = Settings(entry=ALL["playwright"], hostname="h1", node="n1", **more)
    return ServerApp(settings, backends or {})


def test_table_is_the_tiers_file():
    tiers = load_tiers(ROOT / "fixtures/manifests/tiers.yaml")
    ours = [(row.server, row.service, row.port, row.tier, row.calls) for row in SERVERS.values()]
    theirs = [(row.name, row.service, row.port, row.tier, tuple(row.calls)) for row in tiers.servers]
    assert ours == theirs
    assert len(ours) == 16
    assert [(row.service, row.port) for row in EXTRAS.values()] == [(p.service, p.port) for p in tiers.extras]


def test_settings_of_the_compose_file():
    env = {
        "MCP_SERVER": "ai-memory",
        "PORT": "9000",
        "REDIS_URL": REDIS,
        "POSTGRES_URL": POSTGRES,
        "POSTGRES_PASSWORD_FILE": "/run/secrets/p",
        "NODE_NAME": "node2",
    }
    settings = from_env(env)
    assert (settings.port, settings.node) == (9000, "node2")
    assert dict(settings.callees) == {"redis": 6379, "postgres": 5432}
    backends = open_backends(settings)
    assert [type(b) for b in backends.values()] == [PostgresState, RedisState]


def test_backend_of_the_table_without_its_variable():
    assert dict(from_env({"MCP_SERVER": "lambda-labs-cli"}).backends) == {"redis": REDIS}
    assert not from_env({"MCP_SERVER": "github-v2"}).backends


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({}, "MCP_SERVER=''"),
        ({"MCP_SERVER": "nope"}, "known: ai-memory"),
        ({"MCP_SERVER": "hubspot", "PORT": "http"}, "PORT='http'"),
        ({"MCP_SERVER": "hubspot", "PORT": "70000"}, "PORT='70000'"),
        ({"MCP_SERVER": "hubspot", "MCP_CALLEES": "who"}, "'who' is not a known service"),
    ],
)
def test_settings_that_cannot_be_used(env, says):
    with pytest.raises(SettingsError, match=re.escape(says)):
        from_env(env)


@pytest.mark.parametrize(
    "host",
    [
        "github-v2",
        "github-v2:9006",
        "GitHub-v2:9006",
        "tasks.github-v2:9006",
        "sophia_github-v2:9006",
        "github-v2.sophia-mcp:9006",
        "github-v2.sophia-mcp.svc:9006",
        "github-v2.sophia-mcp.svc.cluster.local:9006",
        "localhost:9006",
        "10.42.1.7:9006",
        "[fd00::7]:9006",
    ],
)
def test_hosts_that_may_pass(host):
    assert HostGuard("github-v2").refusal(host, None) is None


@pytest.mark.parametrize(
    "host", ["", "evil.example", "github-v2.evil.example", "slack-v2:9007", "xgithub-v2"]
)
def test_hosts_that_may_not(host):
    guard = HostGuard("github-v2")
    assert [guard.refusal(host, None), guard.refusal(host, None)] == [421, 421]


def test_more_hosts_by_configuration():
    assert HostGuard("github-v2", ["mcp.example.org"]).refusal("mcp.example.org:443", None) is None
    assert HostGuard("github-v2", ["*"]).refusal("evil.example", "http://evil.example") is None


def test_foreign_origin_is_forbidden():
    guard = HostGuard("github-v2")
    assert guard.refusal("github-v2:9006", "http://evil.example") == 403
    assert guard.refusal("github-v2:9006", "http://localhost:8080") is None


def test_memory_finds_what_it_saved():
    async def go() -> Any:
        state = MemoryState()
        await state.save("b", "two")
        await state.save("a", "one")
        again = await state.save("a", "uno")
        return again, await state.search("", 10), await state.search("uno", 10), await state.search("", 1)

    again, everything, some, first = asyncio.run(go())
    assert again.revision == 2
    assert [item.key for item in everything] == ["a", "b"]
    assert [item.key for item in some] == [item.key for item in first] == ["a"]


def test_endpoints():
    async def ask(call):
        answers = [await call.http.get(path) for path in ("/health", "/ready", "/nope")]
        post = await call.http.post("/health")
        foreign = await call.http.post("/mcp", headers={"host": "evil.example"}, json={})
        metrics = await call.http.get("/metrics")
        return [answer.status_code for answer in (*answers, post, foreign)], metrics.text

    statuses, metrics = on(playwright(), ask)
    assert statuses == [200, 200, 404, 405, 421]
    assert 'mcp_http_requests_total{path="/health",status="200"} 1.0' in metrics
    assert 'mcp_http_requests_total{path="/mcp",status="421"} 1.0' in metrics
    assert 'path="/nope"' not in metrics  # a caller's paths would make series without end


def test_readiness_follows_the_backend_and_liveness_does_not():
    async def ask(call):
        ready, health = await call.http.get("/ready"), await call.http.get("/health")
        return ready.status_code, ready.json(), health.status_code

    status, body, health = on(playwright({"redis": Down()}), ask)
    assert (status, health) == (503, 200)
    assert body == {"ready": False, "backends": {"redis": "ConnectionRefusedError: nobody there"}}


def test_tools():
    async def ask(call):
        described = await call.tool("describe")
        await call.tool("playwright_save", key="k", value="v")
        saved = await call.tool("playwright_save", key="k", value="w")
        found = await call.tool("playwright_search", query="w")
        return described, saved, found, await call.tool("slow", seconds=0.0), await call.tool("call_peers")

    described, saved, found, slow, peers = (r["structuredContent"] for r in on(playwright(), ask))
    assert (described["server"], described["hostname"], described["node"]) == ("playwright", "h1", "n1")
    assert saved == {"server": "playwright", "stored_in": "memory", "key": "k", "revision": 2}
    assert found["items"] == [{"key": "k", "value": "w", "revision": 2}]
    assert slow == {"waited_s": 0.0}
    assert peers == {"server": "playwright", "ok": True, "peers": []}


def test_arguments_that_break_the_schema_are_an_error():
    result = on(playwright(), lambda call: call.tool("playwright_save", key="", value="v"))
    assert result["isError"] is True


def test_a_peer_that_fails_is_an_error_with_its_reason():
    with socket.socket() as held:  # bound and not listening: connections to it are refused
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        app = playwright(
            {"redis": Down()}, callees={"redis": 1, "hubspot": port}, directory={"hubspot": "127.0.0.1"}
        )
        result = on(app, lambda call: call.tool("call_peers"))
    assert result["isError"] is True
    by_name = {row["peer"]: row for row in result["structuredContent"]["peers"]}
    assert by_name["redis"]["error"] == "ConnectionRefusedError: nobody there"
    assert "ConnectError" in by_name["hubspot"]["error"]
    assert not any(row["ok"] for row in by_name.values())


def test_a_peer_that_hangs_ends_at_the_bound():
    class Hangs(MemoryState):
        async def ping(self):
            await asyncio.sleep(60)
            return ""

    settings = Settings(entry=ALL["openrouter-search"], callees={"redis": 6379})
    (call,) = asyncio.run(Peers(settings, {"redis": Hangs()}).call_all(0.05))
    assert (call.ok, call.error) == (False, "no answer within 0.05 s")


def serve(**env: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fixtures.mcp_server"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    return subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_process_with_a_bad_environment_says_so_and_ends_with_2():
    process = serve(MCP_SERVER="hubspot", PORT="zero")
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "PORT='zero'" in errors


def test_process_serves_and_ends_at_sigterm():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = serve(MCP_SERVER="playwright", PORT=str(port))
    try:
        until = time.monotonic() + 20
        while True:
            try:
                answer = httpx.get(f"http://127.0.0.1:{port}/health")
                break
            except httpx.ConnectError:
                assert time.monotonic() < until, "the server does not listen after 20 s"
                time.sleep(0.05)
        assert answer.json() == {"status": "ok"}
        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=10)
        assert time.monotonic() - asked < 3
    finally:
        process.kill()
        process.communicate()
