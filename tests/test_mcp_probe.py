"""gonogo-probe: what it prints, and that it says no when the answer is no."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROBE = Path(__file__).resolve().parent.parent / "fixtures/mcp_server/probe.py"
HOSTS = {"GONOGO_PROBE_HOSTS": json.dumps({"here": ["127.0.0.1"], "twice": ["127.0.0.2", "127.0.0.1"]})}


def ask(*words: object, env: dict[str, str] = HOSTS) -> tuple[int, Any]:
    command = [sys.executable, "-IS", str(PROBE), *map(str, words)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=20, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


@pytest.fixture(scope="module")
def echo():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-IS", str(PROBE), "echo", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline()) == {"ok": True, "echo": port}
    yield port
    process.terminate()
    assert process.wait(timeout=5) == 0


def test_resolve_several_names_at_once():
    status, answer = ask("resolve", "here", "nowhere")
    assert (status, answer["ok"]) == (1, False)
    assert answer["names"]["here"] == {"ok": True, "addresses": ["127.0.0.1"]}
    assert not answer["names"]["nowhere"]["ok"]


def test_resolve():
    twice = {"ok": True, "name": "twice", "addresses": ["127.0.0.2", "127.0.0.1"]}
    assert ask("resolve", "twice") == (0, twice)
    assert ask("resolve", "127.0.0.9")[1]["addresses"] == ["127.0.0.9"]
    assert ask("resolve", "localhost", env={})[0] == 0


def test_a_name_that_is_not_there():
    status, answer = ask("resolve", "nowhere")
    assert status == 1
    assert not answer["ok"]
    assert "not known" in answer["error"]


def test_round_trips(echo):
    status, answer = ask("tcp", "here", echo, "--count", 5, "--interval-ms", 1)
    assert status == 0
    assert len(answer["rtt_ms"]) == answer["count"] == 5
    assert all(0 < rtt < 1000 for rtt in answer["rtt_ms"])
    assert answer["peer"] == "127.0.0.1"


def test_nobody_listens():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        status, answer = ask("tcp", "here", held.getsockname()[1])
    assert (status, answer["ok"]) == (1, False)
    assert "ConnectionRefusedError" in answer["error"]


def test_an_end_that_closes_is_no_round_trip():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command = [sys.executable, "-IS", str(PROBE), "tcp", "127.0.0.1", str(port)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        link, _ = listener.accept()
        link.recv(1)
        link.close()
        out, _ = process.communicate(timeout=10)
    assert process.returncode == 1
    assert "closed after 0 of 100" in json.loads(out)["error"]


def test_http_wants_a_url():
    status, answer = ask("http", "ftp://here/")
    assert status == 1
    assert "not an http URL" in answer["error"]
