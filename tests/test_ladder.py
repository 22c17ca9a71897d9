"""The ladder and the sessions: each rung broken on purpose, by name; replicas that forget, and others."""

from __future__ import annotations

import copy
import json
import threading
import uuid
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from fixtures import ladder_sessions as module
from fixtures.callers import Counts
from fixtures.faults.put_back import put_back
from fixtures.ladder import Climb, Ladder, Rung, climb
from fixtures.ladder_calls import Broken
from fixtures.ladder_sessions import CALLS_ON_ALL, SessionDrill, Stuck, between, not_rolled, service_object
from fixtures.readings import Absent
from fixtures.record import Record
from fixtures.security import CannotTell
from fixtures.target import RunInput
from provisioners.base import Cluster, ServiceSpec, Side
from provisioners.errors import NotReady
from provisioners.kube import Listing
from suites.protocol import test_ladder as suite
from suites.protocol import test_sessions as sessions_suite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SPEC = ServiceSpec("github-v2", "primary", 1, (9006,), mcp=True)
STRING = {"type": "object", "properties": {"query": {"type": "string"}}}


def tool(name: str, schema: dict[str, Any] | None = None, *, safe: bool = True) -> dict[str, Any]:
    return {
        "name": name,
        "inputSchema": schema or {"type": "object"},
        "annotations": {"readOnlyHint": safe},
    }


class Server:
    """An MCP server of both eras, with replicas behind one address: each request meets the next one."""

    def __init__(self, *, keeps: bool = False, replicas: int = 1) -> None:
        self.keeps = keeps
        self.tools = [tool("describe"), tool("search", STRING), tool("save", STRING, safe=False)]
        self.service = "github-v2"
        self.health = 200
        self.eras = {"initialize", "server/discover"}
        self.takes_anything = False
        self.tool_error = False
        self.fail_next = 0
        self.turn = 0
        self.lock = threading.Lock()
        self.replicas: list[tuple[str, set[str]]] = []
        self.scale(replicas)

    def scale(self, replicas: int, *, new: bool = False) -> None:
        with self.lock:
            kept = [] if new else self.replicas[:replicas]
            fresh: list[tuple[str, set[str]]] = [
                (f"github-v2-{uuid.uuid4().hex[:5]}", set()) for _ in range(replicas - len(kept))
            ]
            self.replicas = [*kept, *fresh]

    def answer(self, message: dict[str, Any], session: str) -> tuple[int, dict[str, Any] | None, str]:
        with self.lock:
            self.turn += 1
            host, known = self.replicas[self.turn % len(self.replicas)]
        if self.fail_next:
            self.fail_next -= 1
            return 503, None, ""
        method = message["method"]
        if method == "initialize" and method in self.eras:
            session = uuid.uuid4().hex if self.keeps else ""
            known.add(session)
            result = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "github"}}
            return 200, {"result": result}, session
        if self.keeps and session not in known:
            return 404, None, ""
        if method == "notifications/initialized":
            return 202, None, ""
        return 200, self._reply(method, message.get("params") or {}, host), ""

    def _reply(self, method: str, params: dict[str, Any], host: str) -> dict[str, Any]:
        if method == "server/discover" and method in self.eras:
            return {"result": {"supportedVersions": ["2026-07-28"], "serverInfo": {"name": "github"}}}
        if method == "tools/list":
            return {"result": {"tools": self.tools}}
        if method == "tools/call":
            return self._call(params["name"], params.get("arguments") or {}, host)
        if self.takes_anything:
            return {"result": {}}
        return {"error": {"code": -32601, "message": "method not found"}}

    def _call(self, name: str, arguments: dict[str, Any], host: str) -> dict[str, Any]:
        known = {one["name"]: one for one in self.tools}
        good = name in known and all(isinstance(value, str) for value in arguments.values())
        if not good and not self.takes_anything:
            return {"error": {"code": -32602, "message": "no"}}
        content = [{"type": "text", "text": "hello"}]
        structured = {"service": self.service, "hostname": host}
        return {"result": {"content": content, "isError": self.tool_error, "structuredContent": structured}}


@contextmanager
def serve(server: Server) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, body, session = server.answer(message, self.headers.get("mcp-session-id", ""))
            text = (
                b""
                if body is None
                else json.dumps({"jsonrpc": "2.0", "id": message.get("id"), **body}).encode()
            )
            self._send(status, text, session)

        def do_GET(self) -> None:
            self._send(server.health, b'{"status": "ok"}', "")

        def _send(self, status: int, body: bytes, session: str) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            if session:
                self.send_header("mcp-session-id", session)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Quick(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

    here = Quick(("127.0.0.1", 0), Handler)
    threading.Thread(target=here.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{here.server_port}"
    finally:
        here.shutdown()
        here.server_close()


class Target:
    def __init__(self, url: str, side: Side = Side.KUBERNETES) -> None:
        self.side = side
        self._url = url

    def url(self, service: str, port: int | None = None) -> str:
        if not self._url:
            raise NotReady(f"{service} has no ready pod to enter by", where="namespace sophia-mcp")
        return self._url


def climbed(server: Server, twin: Server | None = None) -> Climb:
    with serve(server) as url, serve(twin or Server()) as other:
        second = Target(other, Side.SWARM) if twin else None
        return Ladder().by_service(Target(url), SPEC, second)  # type: ignore[arg-type]


# -- the ladder by Service -------------------------------------------------------------------------


def test_a_good_server_holds_every_rung():
    seen = climbed(Server(), Server())
    assert seen.broken == ""
    assert (seen.held, seen.of) == (9, 9)
    assert "initialize, discover" in [rung.seen for rung in seen.rungs]
    assert [rung.name for rung in seen.rungs][:4] == ["way in", "TCP", "HTTP", "MCP: initialize or discover"]


def changed(**fields: Any) -> Server:
    server = Server()
    for name, value in fields.items():
        setattr(server, name, value)
    return server


OTHER_SCHEMA = [tool("describe"), tool("search", {"type": "object"}), tool("save", STRING, safe=False)]
BROKEN: dict[str, tuple[Server, str]] = {
    "http": (changed(health=500), "rung 3 of 9, HTTP: /health answered 500"),
    "mcp": (changed(eras=set()), "rung 4 of 9, MCP: initialize or discover: http"),
    "no tools": (changed(tools=[]), "rung 5 of 9, tools/list: no tools"),
    "twice": (changed(tools=[tool("a"), tool("a")]), "rung 5 of 9, tools/list: a tool is listed twice"),
    "one era": (changed(eras={"initialize"}), "rung 6 of 9, eras as on swarm: swarm speaks discover too"),
    "schema": (
        changed(tools=OTHER_SCHEMA),
        "rung 7 of 9, contract as on swarm: differ from swarm: another",
    ),
    "lacks": (changed(tools=[tool("describe")]), "lacks save, lacks search"),
    "tool error": (changed(tool_error=True), "rung 8 of 9, a safe call: describe answered an error: hello"),
    "another": (changed(service="slack-v2"), "rung 8 of 9, a safe call: slack-v2 answers describe"),
    "anything": (changed(takes_anything=True), "rung 9 of 9, bad calls refused: gonogo_no_such_tool"),
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_the_first_broken_rung_has_its_name(name):
    server, wanted = BROKEN[name]
    seen = climbed(server, Server())
    assert wanted in seen.broken
    assert seen.broken.startswith("kubernetes: github-v2: rung ")
    assert seen.rungs[-1].why


def test_a_port_that_nobody_listens_at_and_a_way_in_that_is_not_there():
    with serve(Server()) as url:
        closed = url
    seen = Ladder().by_service(Target(closed), SPEC)  # type: ignore[arg-type]
    assert "rung 2 of 7, TCP: 127.0.0.1:" in seen.broken
    assert seen.broken.endswith("(held: way in)")
    seen = Ladder().by_service(Target(""), SPEC)  # type: ignore[arg-type]
    assert "rung 1 of 7, way in: " in seen.broken
    assert "held: nothing" in seen.broken


def test_a_wrong_type_that_is_taken_is_seen():
    class Lax(Server):
        def _call(self, name: str, arguments: dict[str, Any], host: str) -> dict[str, Any]:
            return super()._call(name, {}, host)

    assert "search takes {'no': 'text'} for query, which is of type string" in climbed(Lax()).broken


def test_what_is_no_fault_of_the_server_is_not_caught():
    def bug() -> str:
        raise KeyError("x")

    with pytest.raises(KeyError):
        climb("x", [("a", bug)])


def test_the_suite_names_the_rung_and_counts_what_held():
    def no() -> str:
        raise Broken("no")

    record = Record()
    with pytest.raises(AssertionError, match=r"x: rung 2 of 4, b: no \(held: a\)"):
        suite._hold(climb("x", [("a", str), ("b", no), ("c", str), ("d", str)]), record)
    assert (record.observations[0].observed, record.observations[0].samples) == (25.0, 2)
    suite._hold(Climb("x", (Rung("a", 1.0, "seen"),), 1), Record())


def test_the_suite_compares_with_what_runs_today():
    with serve(Server()) as url, serve(changed(tools=[tool("describe")])) as other:
        both: Any = {Side.SWARM: Target(url, Side.SWARM), Side.KUBERNETES: Target(other)}
        suite.test_every_rung_by_service(both[Side.SWARM], both, SPEC, Ladder(), Record())
        with pytest.raises(AssertionError, match="contract as on swarm"):
            suite.test_every_rung_by_service(both[Side.KUBERNETES], both, SPEC, Ladder(), Record())


# -- sessions --------------------------------------------------------------------------------------

DEPLOYMENT = "/apis/apps/v1/namespaces/sophia-mcp/deployments/github-v2"


class Orchestrator:
    """A stand-in of the API server whose Deployment really changes what the server's address leads to."""

    def __init__(self, server: Server, port: int) -> None:
        self.server = server
        self.port = port
        self.objects: dict[str, Any] = {}
        self.stuck_at = 0  # a number of replicas that is never reached
        self.row: dict[str, Any] = {
            "metadata": {"name": "github-v2", "generation": 1},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": "github-v2"}},
                "template": {"metadata": {"annotations": {}}},
            },
            "status": {},
        }
        self._settle()

    def get(self, path: str) -> Any:
        return copy.deepcopy(self.row) if path == DEPLOYMENT else self.objects.get(path)

    def list_all(self, path: str, **_: Any) -> Listing:
        return Listing((), "1")

    def apply(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        made = copy.deepcopy(body)
        for port in made["spec"]["ports"]:
            port["nodePort"] = self.port
        self.objects[path] = made
        return made

    def delete(self, path: str) -> bool:
        return self.objects.pop(path, None) is not None

    def patch(self, path: str, body: dict[str, Any]) -> Any:
        assert path == DEPLOYMENT
        spec = self.row["spec"]
        notes = (((body["spec"].get("template") or {}).get("metadata")) or {}).get("annotations") or {}
        before = dict(spec["template"]["metadata"]["annotations"])
        after = {key: value for key, value in {**before, **notes}.items() if value is not None}
        spec["template"]["metadata"]["annotations"] = after
        spec["replicas"] = body["spec"].get("replicas", spec["replicas"])
        self.row["metadata"]["generation"] += 1
        threading.Timer(0.3, lambda: self._settle(new=after != before)).start()
        return self.row

    def _settle(self, *, new: bool = False) -> None:
        wanted = self.row["spec"]["replicas"]
        self.server.scale(wanted, new=new)
        count = 1 if wanted == self.stuck_at else wanted
        counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas"), count)
        self.row["status"] = {"observedGeneration": self.row["metadata"]["generation"], **counts}


class Journal:
    """A journal whose undo acts on the stand-in, as its words say."""

    kube: Orchestrator

    def __init__(self, _: object) -> None:
        self.open: list[Any] = []

    def begin(self, undo: Any) -> None:
        assert self.kube.row["spec"]["replicas"] == 1, "the undo comes before the change"
        self.open.append(undo)

    def close(self) -> list[str]:
        problems = []
        for undo in self.open:
            words = list(undo.argv)
            delete = [words[at + 1] for at, word in enumerate(words) if word == "--delete"]
            patch = {
                words[at + 1]: json.loads(words[at + 2]) for at, word in enumerate(words) if word == "--patch"
            }
            problems += put_back(self.kube, delete, patch)  # type: ignore[arg-type]
        self.open = []
        return problems


@pytest.fixture
def drilled(tmp_path, monkeypatch) -> Iterator[Callable[[Server], tuple[SessionDrill, Orchestrator]]]:
    monkeypatch.setattr(module, "_STEADY_S", 1.5)
    monkeypatch.setattr(module, "_AFTER_S", 0.6)
    monkeypatch.setattr(module, "_POLL_S", 0.05)
    monkeypatch.setattr(module, "_WHOLE_BOUND_S", 3.0)
    monkeypatch.setattr(module, "_DOOR_BOUND_S", 0.5)
    monkeypatch.setattr(module, "Journal", Journal)
    opened: list[Any] = []

    def make(server: Server) -> tuple[SessionDrill, Orchestrator]:
        context = serve(server)
        url = context.__enter__()
        opened.append(context)
        kube = Orchestrator(server, int(url.rpartition(":")[2]))
        Journal.kube = kube
        run = RunInput(tmp_path, Cluster("existing", "existing", run_id="r1"), (SPEC,))
        return SessionDrill(kube, Target(url), run, None), kube  # type: ignore[arg-type]

    yield make
    for context in opened:
        context.__exit__(None, None, None)


def check(test: Any, drill: SessionDrill) -> Record:
    record = Record()
    test(drill, (SPEC,), record)
    return record


SESSIONS = (
    sessions_suite.test_sessions_hold_on_several_replicas,
    sessions_suite.test_sessions_hold_while_a_rollout_runs,
    sessions_suite.test_sessions_hold_while_replicas_go_away,
)


@pytest.mark.live
def test_servers_that_keep_no_sessions_hold_all_rungs(drilled):
    drill, kube = drilled(Server())
    records = [check(test, drill) for test in SESSIONS]
    assert [record.doubt for record in records] == ["", "", ""]
    assert all(record.observations[0].observed == 100.0 for record in records)
    assert all(record.observations[0].samples > 5 for record in records)
    data: dict[str, Any] = dict(records[0].observations[0].data)
    rolled: dict[str, Any] = dict(records[1].observations[0].data)
    assert (data["clients"], data["replicas"], data["keeps_sessions"]) == (8, 3, False)
    assert len(data["answered_by"]) == 3
    assert len(rolled["answered_by"]) == 3, "three new ones in the rollout"
    assert drill.close() == []
    assert kube.row["spec"]["replicas"] == 1
    assert kube.row["spec"]["template"]["metadata"]["annotations"] == {}
    assert kube.objects == {}


@pytest.mark.live
def test_servers_that_keep_sessions_in_memory_lose_them_on_several_replicas(drilled):
    drill, _ = drilled(Server(keeps=True))
    with pytest.raises(
        AssertionError, match=r"github-v2 \(keeps sessions\): rung calls on all replicas: \d+"
    ):
        check(SESSIONS[0], drill)
    assert drill.close() == []


@pytest.mark.live
def test_a_rollout_that_loses_calls_is_named(drilled):
    class Dropping(Server):
        def scale(self, replicas: int, *, new: bool = False) -> None:
            self.fail_next = 3 if new else 0
            super().scale(replicas, new=new)

    drill, _ = drilled(Dropping())
    check(SESSIONS[0], drill)
    with pytest.raises(AssertionError, match=r"rung a rollout: 3 of \d+ calls of 8 clients failed"):
        check(SESSIONS[1], drill)
    check(SESSIONS[2], drill)


@pytest.mark.live
def test_a_scale_in_that_loses_calls_is_named(drilled):
    class Dropping(Server):
        def scale(self, replicas: int, *, new: bool = False) -> None:
            shrinks = replicas < len(self.replicas)
            super().scale(replicas, new=new)
            self.fail_next = 2 if shrinks else 0

    drill, _ = drilled(Dropping())
    check(SESSIONS[1], drill)
    with pytest.raises(AssertionError, match="rung a scale-in: 2 of"):
        check(SESSIONS[2], drill)


@pytest.mark.live
def test_one_replica_that_answers_for_all_decides_nothing(drilled):
    class Sticky(Server):
        def answer(self, message: dict[str, Any], session: str) -> tuple[int, dict[str, Any] | None, str]:
            self.turn = -1
            return super().answer(message, session)

    drill, _ = drilled(Sticky())
    assert "1 of 3 replicas answered" in check(SESSIONS[0], drill).doubt


@pytest.mark.live
def test_replicas_that_do_not_come_are_told_apart(drilled):
    drill, kube = drilled(Server())
    kube.stuck_at = 3
    with pytest.raises(CannotTell, match=r"github-v2 gets no 3 replicas: replicas 1 of 3.* after 3 s"):
        drill.seen((SPEC,))
    assert drill.close() == []
    assert kube.row["spec"]["replicas"] == 1


@pytest.mark.live
def test_a_rollout_that_never_ends_is_a_failure_for_every_check(drilled, monkeypatch):
    drill, kube = drilled(Server())
    monkeypatch.setattr(drill, "_roll", lambda path: drill._await(path, 5, "rung a rollout"))
    for _ in range(2):
        with pytest.raises(Stuck, match="rung a rollout: replicas 3 of 5"):
            drill.seen((SPEC,))
    assert kube.row["spec"]["replicas"] == 1


def test_without_a_free_server_there_is_nothing_to_drill(drilled):
    drill, _ = drilled(Server())
    with pytest.raises(Absent):
        drill.seen(())
    assert drill.close() == []


def test_nobody_behind_the_drills_service_decides_nothing(drilled):
    drill, kube = drilled(Server())
    kube.port = 1
    with pytest.raises(CannotTell, match="nobody can enter by the drill's Service"):
        drill.seen((SPEC,))


def test_a_deployment_is_whole_when_old_pods_are_gone_too():
    row = {"metadata": {"generation": 2}, "spec": {}, "status": {"observedGeneration": 2}}
    row["status"] |= {"replicas": 4, "updatedReplicas": 3, "readyReplicas": 3}
    assert not_rolled(row, 3) == "replicas 4 of 3"
    row["status"] |= {"replicas": 3}
    assert not_rolled(row, 3) == ""
    row["metadata"]["generation"] = 3
    assert not_rolled(row, 3) == "its controller has not seen it"
    assert not_rolled({}, 3) == "the Deployment is gone"


def test_a_phase_is_what_came_between_two_readings():
    before = Counts(10, 1, ["a"], {"x"}, {0})
    after = Counts(25, 3, ["a", "b", "c"], {"x", "y"}, {0, 4})
    seen = between("n", before, after, 2.0)
    assert (seen.calls, seen.errors, seen.lost, seen.first_errors) == (15, 2, 1, ("b", "c"))
    assert seen.answered_by == ("y",)


def test_the_drills_service_is_plain():
    deployment = {"spec": {"selector": {"matchLabels": {"app": "x"}}}}
    spec = service_object("n", deployment, 9006, "r1")["spec"]
    assert (spec["sessionAffinity"], spec["externalTrafficPolicy"]) == ("None", "Cluster")


def test_the_names_of_the_rungs_are_the_drills():
    assert (sessions_suite.CALLS, sessions_suite.ROLLOUT, sessions_suite.SCALE_IN) == (
        CALLS_ON_ALL,
        module.ROLLOUT,
        module.SCALE_IN,
    )
