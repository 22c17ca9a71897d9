"""The keep-alive client against servers that answer badly: each its own kind of error."""

import socket
import time

import pytest

from loadtests.answer import judge
from loadtests.client import Exchange
from loadtests.keepalive import KeepAliveClient
from loadtests.plan import LoadPlan
from loadtests.profile import HEALTH, TOOLS_CALL, LoadProfile, Server
from loadtests.sample import ErrorKind
from loadtests.schedule import Slot
from tests.tiny_server import tiny_server


def plan_of(url: str, timeout_s: float = 1.0) -> LoadPlan:
    profile = LoadProfile("test", 100, 1, 0, timeout_s=timeout_s)
    return LoadPlan(profile, (Server("one", url, url),), seed=1)


def ask(url: str, *, workload: str = TOOLS_CALL, times: int = 1, timeout_s: float = 1.0) -> list[Exchange]:
    client = KeepAliveClient(plan_of(url, timeout_s), 0)
    index = (HEALTH, TOOLS_CALL).index(workload)
    try:
        return [client.send(Slot(pair, 0, 0, index, 0, warmup=False)) for pair in range(times)]
    finally:
        client.close()


def kind_of(exchange: Exchange, workload: str = TOOLS_CALL, call_id: int = 1) -> ErrorKind:
    return judge(exchange, workload, call_id)[0]


@pytest.mark.parametrize(
    ("way", "kind"),
    [
        ("ok", ErrorKind.NONE),
        ("sse", ErrorKind.NONE),
        ("rpc_error", ErrorKind.RPC_ERROR),
        ("tool_error", ErrorKind.TOOL_ERROR),
        ("id_mismatch", ErrorKind.ID_MISMATCH),
        ("html", ErrorKind.NOT_JSON),
        ("status", ErrorKind.STATUS),
        ("redirect", ErrorKind.REDIRECT),
        ("garbage", ErrorKind.GARBAGE),
        ("cut", ErrorKind.GARBAGE),
        ("never", ErrorKind.TIMEOUT),
        ("large", ErrorKind.TOO_LARGE),
    ],
)
def test_each_bad_answer_has_its_kind(way, kind):
    with tiny_server(way) as server:
        started = time.monotonic()
        (exchange,) = ask(server.url, timeout_s=0.3)
        found, detail = judge(exchange, TOOLS_CALL, 1)
    assert found is kind, detail
    assert bool(detail) == (kind is not ErrorKind.NONE)
    assert exchange.sent_ns < exchange.done_ns
    assert time.monotonic() - started < 2


def test_refused_and_unknown_name():
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    (exchange,) = ask(f"http://127.0.0.1:{port}")
    assert kind_of(exchange) is ErrorKind.REFUSED


def test_health_looks_at_the_status_only():
    with tiny_server("html") as server:
        (exchange,) = ask(server.url, workload=HEALTH)
    assert kind_of(exchange, HEALTH) is ErrorKind.NONE
    with tiny_server("status") as server:
        (exchange,) = ask(server.url, workload=HEALTH)
    assert kind_of(exchange, HEALTH) is ErrorKind.STATUS


def test_connections_are_kept_and_an_idle_close_is_repeated_once():
    with tiny_server() as server:
        exchanges = ask(server.url, times=5)
    assert [kind_of(exchange, call_id=pair + 1) for pair, exchange in enumerate(exchanges)] == [
        ErrorKind.NONE
    ] * 5
    with tiny_server("close_idle") as server:
        first, second = ask(server.url, times=2)
    assert not first.retried
    assert second.retried
    assert kind_of(second, call_id=2) is ErrorKind.NONE


def test_a_new_connection_that_closes_is_an_error_not_repeated():
    with tiny_server("close_idle") as server:
        server.requests = 1
        (exchange,) = ask(server.url)
        assert server.requests == 2
    assert kind_of(exchange) is ErrorKind.CLOSED
