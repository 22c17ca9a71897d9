"""The entry as a real process: weights, sessions, bodies, failures, its undo, and its end with its parent."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fixtures.cutover_entry import Door, Entry
from fixtures.cutover_row import BROKEN, KUBERNETES, REFUSED, STATUS, STICKY, SWARM
from fixtures.faults.journal import Journal
from fixtures.mcp import McpClient
from fixtures.web import fetch
from provisioners.errors import InputError, ProvisionError
from tests import bad_server as ways
from tests.bad_server import serving
from tests.cutover_server import two_sides

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixtures.cutover_row import Row
    from fixtures.web import Answer
    from reports.model import Evidence, Undo

pytestmark = pytest.mark.live


class Notes:
    """A recorder that keeps undo records in memory."""

    def __init__(self) -> None:
        self.undone: list[Undo] = []

    def expect(self, criterion: str, check: str) -> None:
        raise AssertionError(criterion, check)

    def evidence(self, evidence: Evidence) -> None:
        raise AssertionError(evidence)

    def undo(self, undo: Undo) -> None:
        self.undone.append(undo)

    def open(self) -> set[str]:
        done = {one.id for one in self.undone if one.done}
        return {one.id.split("-")[1] for one in self.undone if one.id not in done}


def get(url: str, path: str = "/", **more: Any) -> Answer:
    return fetch(url + path, timeout_s=5, **more)


def ended(entry: Entry, n: int) -> list[Row]:
    """Wait for the rows of `n` requests."""
    rows: list[Row] = []
    deadline = time.monotonic() + 10
    while len(rows) < n and time.monotonic() < deadline:
        time.sleep(0.05)
        rows += entry.rows()
    return rows


def named(name: str) -> ways.Way:
    """A way that answers with the side's name."""

    def answer(talk: ways.Talk) -> None:
        talk.send(name.encode(), kind="text/plain")

    return answer


@contextlib.contextmanager
def entered(
    a: ways.Way, b: ways.Way, **behaviour: Any
) -> Iterator[tuple[Entry, Notes, ways.BadServer, ways.BadServer]]:
    notes = Notes()
    with serving(a, b) as (swarm, kubernetes):
        door = Door("one", swarm.url, kubernetes.url)
        with Entry([door], Journal(notes), seed=7, **behaviour) as entry:
            yield entry, notes, swarm, kubernetes


def test_weights_change_while_it_serves_and_rows_say_who_answered():
    with entered(named("swarm"), named("kubernetes")) as (entry, _, _, _):
        seen = {}
        for percent in (0, 50, 100, 0):
            entry.shift(percent)
            seen[percent] = Counter(get(entry.url(0)).body.decode() for _ in range(60))
        assert seen[0] == {"swarm": 60}
        assert seen[100] == {"kubernetes": 60}
        assert 15 < seen[50]["kubernetes"] < 45
        assert get(entry.url(0, control=True)).body == b"swarm"
        rows = ended(entry, 241)
    assert len(rows) == 241
    by_epoch = {epoch: {row.side for row in rows if row.epoch == epoch and row.free} for epoch in (1, 3, 4)}
    assert by_epoch == {1: {SWARM}, 3: {KUBERNETES}, 4: {SWARM}}
    assert all(row.done_ns > row.started_ns and row.status == 200 and not row.failed for row in rows)


def test_a_control_stream_goes_to_swarm_at_any_weight():
    with entered(named("swarm"), named("kubernetes")) as (entry, _, _, _):
        entry.shift(100)
        assert {get(entry.url(0, control=True)).body for _ in range(20)} == {b"swarm"}


def test_a_session_stays_where_it_began():
    with two_sides(sessions=True) as (swarm, kubernetes, doors), Entry(doors, Journal(None)) as entry:
        on_swarm = McpClient(entry.url(0) + "/mcp")
        on_swarm.hello()
        entry.shift(100)
        on_kubernetes = McpClient(entry.url(0) + "/mcp")
        on_kubernetes.hello()
        entry.shift(50)
        for _ in range(10):
            assert not on_swarm.call("describe").is_error
            assert not on_kubernetes.call("describe").is_error
        assert (swarm.calls, kubernetes.calls) == (10, 10)
        assert entry.state()["sessions"] == {SWARM: 1, KUBERNETES: 1}
        assert entry.forget(KUBERNETES) == 1
        assert [row.flags for row in ended(entry, 24)].count(STICKY) == 22


def test_without_stickiness_sessions_are_lost():
    with two_sides(sessions=True) as (_, _, doors), Entry(doors, Journal(None), sticky=False) as entry:
        client = McpClient(entry.url(0) + "/mcp")
        client.hello()
        entry.shift(100)
        with pytest.raises(AssertionError, match="no session"):
            client.call("describe")


def test_bodies_of_every_framing_arrive_whole():
    parts = [b"data: first\n\n", b"x" * 50_000, b"end"]

    def chunked(talk):
        if talk.head.startswith(b"POST"):
            talk.chunked([talk.body], "application/octet-stream", size=1_000)
        else:
            talk.chunked(parts, "text/event-stream", size=1_000)

    with entered(chunked, chunked) as (entry, _, _, _):
        assert get(entry.url(0)).body == b"".join(parts)
        sent = os.urandom(200_000)
        assert get(entry.url(0), method="POST", body=sent).body == sent
        assert not any(row.failed for row in ended(entry, 2))


def test_a_side_that_fails_is_named_and_nobody_stands_in_for_it():
    def broken(talk):
        talk.send(b"no", status="500 No")

    with entered(named("swarm"), broken) as (entry, _, _, kubernetes):
        entry.shift(100)
        assert get(entry.url(0)).status == 500
        kubernetes.way = ways.reset
        assert get(entry.url(0)).status == 502
        entry.shift(0)
        assert get(entry.url(0)).status == 200
        rows = ended(entry, 3)
    assert [row.error for row in rows][:2] == [STATUS, BROKEN]
    assert [row.side for row in rows] == [KUBERNETES, KUBERNETES, SWARM]


def test_a_side_that_is_not_there_is_refused():
    with serving(named("swarm")) as (swarm,), socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        taken.close()
        with Entry([Door("one", swarm.url, f"http://127.0.0.1:{port}")], Journal(None)) as entry:
            entry.shift(100)
            assert get(entry.url(0)).status == 502
            assert [row.error for row in ended(entry, 1)] == [REFUSED]


def test_an_error_inside_a_good_status_is_a_failure():
    def refuses(talk):
        talk.send(json.dumps({"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "no"}}).encode())

    with entered(refuses, refuses) as (entry, _, _, _):
        assert get(entry.url(0), method="POST", body=b"{}").status == 200
        assert [row.failed for row in ended(entry, 1)] == [True]


def test_an_idle_connection_that_the_server_closed_loses_nothing():
    def closes(talk):
        talk.send(b"ok")
        talk.sock.close()

    with entered(closes, closes) as (entry, _, _, _):
        assert [get(entry.url(0)).status for _ in range(20)] == [200] * 20


def test_what_is_no_http_is_refused_and_the_entry_goes_on():
    with entered(named("swarm"), named("kubernetes")) as (entry, _, _, _):
        port = int(entry.url(0).rsplit(":", 1)[1])
        for rubbish in (
            b"\x00\x01\x02\r\n\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
            b"x" * 200_000,
        ):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as sock:
                sock.sendall(rubbish)
                assert b" 400 " in sock.recv(200) or not sock.recv(1)
        assert get(entry.url(0)).status == 200


def test_the_undo_is_written_before_anything_and_done_at_the_end():
    with entered(named("swarm"), named("kubernetes")) as (entry, notes, _, _):
        assert notes.open() == {"entry"}
        entry.shift(5)
        assert notes.open() == {"entry", "weights"}
        entry.shift(0)
        assert notes.open() == {"entry"}
        entry.shift(50)
    assert notes.open() == set()


def test_the_undo_puts_weights_back_ends_the_entry_and_may_be_run_again():
    with entered(named("swarm"), named("kubernetes")) as (entry, notes, _, _):
        entry.shift(100)
        stop, weights = (one.argv for one in notes.undone[:2])
        assert subprocess.run(weights, timeout=30, check=False).returncode == 0
        assert get(entry.url(0)).body == b"swarm"
        assert subprocess.run(stop, timeout=30, check=False).returncode == 0
        deadline = time.monotonic() + 5
        process = entry._process
        assert process is not None
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert process.poll() is not None
        for argv in (weights, stop):
            assert subprocess.run(argv, timeout=30, check=False).returncode == 0
        with pytest.raises(ProvisionError, match="does not answer"):
            entry.shift(0)


def test_an_entry_ends_with_whoever_started_it():
    code = (
        f"import sys, time; sys.path.insert(0, {str(Path.cwd())!r});"
        "from fixtures.cutover_entry import Door, Entry; from fixtures.faults.journal import Journal;"
        "entry = Entry([Door('one', 'http://127.0.0.1:1', 'http://127.0.0.1:2')], Journal(None));"
        "entry.start(); print(entry.state()['pid'], entry.folder, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        word, folder = parent.stdout.readline().decode().split()
        pid = int(word)
        parent.send_signal(signal.SIGKILL)
        parent.wait(10)
    deadline = time.monotonic() + 10
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(pid)
    assert not Path(folder).exists()


def test_an_entry_to_tls_is_refused():
    with pytest.raises(InputError, match="plain HTTP"):
        Entry([Door("one", "https://127.0.0.1:1", "http://127.0.0.1:2")], Journal(None))


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
