"""The delay server of the benchmarks: draws as asked for, and a log that is the truth."""

import http.client
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.delay_server import SHAPES, draw_delays, parse, read_delay_log

pytestmark = pytest.mark.live

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("shape", SHAPES)
def test_draws_are_seeded_and_have_their_shape(shape):
    draws = draw_delays(shape, 5.0, 0.4, 1, 50_000) / 1e6
    assert (draws == draw_delays(shape, 5.0, 0.4, 1, 50_000) / 1e6).all()
    assert shape == "const" or (draws != draw_delays(shape, 5.0, 0.4, 2, 50_000) / 1e6).any()
    assert np.quantile(draws, 0.5) == pytest.approx(5.0, rel=0.02)
    p99 = {"const": 5.0, "lognormal": 5.0 * np.exp(0.4 * 2.326), "bimodal": 53.2, "heavy": 35.4}[shape]
    assert np.quantile(draws, 0.99) == pytest.approx(p99, rel=0.06)


@pytest.mark.parametrize(
    "argv", [["--median-ms", "0"], ["--error-rate", "2"], ["--shape", "square"], ["--x"]]
)
def test_bad_options_end_with_code_2(argv, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(argv)
    assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_it_answers_after_its_delays_and_logs_what_was_seen(tmp_path):
    log = tmp_path / "log"
    options = ["--median-ms", "4", "--shape", "const", "--error-rate", "0.2", "--log", str(log)]
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.delay_server", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline().split()[-1])
        asked = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        seen, statuses = [], []
        for number in range(30):
            begin = time.monotonic_ns()
            body = json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {}})
            asked.request(*(("POST", "/mcp", body) if number % 2 else ("GET", "/health")))
            answer = asked.getresponse()
            text = answer.read()
            seen.append((begin, time.monotonic_ns()))
            statuses.append(answer.status)
            if number % 2 and answer.status == 200:
                assert json.loads(text)["id"] == number
        asked.request("POST", "/mcp", json.dumps({"jsonrpc": "2.0", "id": 0, "method": "initialize"}))
        answer = asked.getresponse()
        answer.read()
        assert answer.headers["mcp-session-id"]
    finally:
        server.terminate()
        server.wait(10)
    rows = read_delay_log(log)
    assert len(rows) == 30, "a handshake is not logged"
    assert list(rows["status"]) == statuses
    assert 0 < (rows["status"] == 500).sum() < 20
    assert (rows["delay_ns"] == 4_000_000).all()
    for (begin, end), row in zip(seen, rows, strict=True):
        assert begin < row["arrival_ns"] < row["reply_ns"] < end
        assert row["reply_ns"] - row["arrival_ns"] >= row["delay_ns"]
