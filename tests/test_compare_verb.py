"""`gonogo compare`: bad input, servers that answer badly, and whole comparisons of known sides."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import gonogo
from loadtests.plan import make_plan
from loadtests.run import LoadRun
from loadtests.sample import ROW_FIELDS, WARMUP, ErrorKind
from tests import bad_server as ways
from tests.bad_server import serving
from tests.test_client import certificate
from tests.tiny_server import TinyServer, tiny_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loadtests.plan import LoadPlan

pytestmark = pytest.mark.live

START_NS = 1_000_000_000
ROOT = Path(__file__).resolve().parent.parent
ENDPOINT_KEYS = {
    "name", "quantile", "ratio", "low", "high", "smallest_detectable", "n_a", "n_b", "outcome",
}  # fmt: skip
KEYS = ["verdict", "margin", "alpha", "rate_total", "duration_s", "endpoints", "errors", "generator", "why"]


def compare(a: str, b: str, *more: str, rate: str = "200", duration: str = "10") -> int:
    """Run the verb in this process; returns its exit code."""
    argv = ["compare", "--a", a, "--b", b, "--rate", rate, "--duration", duration, *more]
    with pytest.raises(SystemExit) as left:
        gonogo.main(argv)
    assert isinstance(left.value.code, int)
    return left.value.code


@pytest.fixture(scope="module")
def good() -> Iterator[TinyServer]:
    with tiny_server() as server:
        yield server


@pytest.fixture
def no_load(monkeypatch):
    """Fail where load would start: what is refused must be refused before it."""

    def never(*_: object) -> None:
        raise AssertionError("load was started")

    monkeypatch.setattr("verbs.compare._load", never)


# -- before anything is sent -------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"rate": "0"}, "--rate '0' cannot be used"),
        ({"rate": "-5"}, "--rate '-5'"),
        ({"rate": "nan"}, "--rate 'nan'"),
        ({"rate": "inf"}, "--rate 'inf'"),
        ({"rate": "200000"}, "--rate '200000'"),
        ({"duration": "0"}, "--duration '0'"),
        ({"duration": "-1"}, "--duration '-1'"),
        ({"duration": "NaN"}, "--duration 'nan'"),
        ({"duration": "1e9"}, "--duration '1e+09'"),
    ],
)
def test_a_rate_or_duration_that_means_nothing_is_refused(more, said, no_load, capsys):
    assert compare("http://127.0.0.1:1", "http://127.0.0.1:2", **more) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert "next:" in err
    assert out == ""


@pytest.mark.parametrize(
    ("margin", "said"),
    [
        ("10", "no unit"),
        ("0%", "margin of 0 or less"),
        ("-5%", "margin of 0 or less"),
        ("nan%", "not a number"),
        ("inf ms", "not a number"),
        ("101%", "over 100 %"),
        ("ten%", "not a number"),
        ("", "not a number"),
        ("10%,", "not a number"),
    ],
)
def test_a_margin_that_means_nothing_is_refused(margin, said, no_load, capsys):
    assert compare("http://127.0.0.1:1", "http://127.0.0.1:2", "--margin", margin) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "share", "floor_ms"), [("10%", 0.1, 0.0), ("1ms", 0.0, 1.0), ("2 %, 0.5ms", 0.02, 0.5)]
)
def test_a_margin_has_a_unit(text, share, floor_ms):
    from verbs.compare import parse_margin

    found = parse_margin(text)
    assert (found.share, found.floor_ms) == (share, floor_ms)


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("ftp://127.0.0.1/", 2, "not a URL"),
        ("127.0.0.1:80", 2, "not a URL"),
        ("http://127.0.0.1:99999", 2, "not a URL"),
        ("http://user:word@127.0.0.1", 2, "user name or password"),
        ("http://127.0.0.1:1/a b", 2, "space"),
        ("http://127.0.0.1:1/other", 2, "the same path"),
        ("http://192.0.2.1:80", 4, "refused"),
        ("http://198.51.100.7", 4, "allow its host by name"),
        ("http://example.invalid", 4, "allow its host by name"),
    ],
)
def test_a_url_that_cannot_be_loaded_is_refused_before_anything_is_sent(url, code, said, no_load, capsys):
    assert compare("http://127.0.0.1:1", url) == code
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_a_host_is_allowed_by_name_and_by_inventory(no_load, capsys, tmp_path):
    assert compare("http://127.0.0.1:1", "http://example.invalid", "--allow-host", "http://x") == 2
    assert "names one host" in capsys.readouterr().err
    inventory = tmp_path / "hosts.yaml"
    inventory.write_text("- {name: n1, address: 192.0.2.9}\n")
    from verbs.compare import _allowed

    assert {"example.invalid", "192.0.2.9"} <= set(_allowed(["example.invalid"], inventory))


def test_a_name_that_does_not_resolve_says_so(good, no_load, capsys, monkeypatch):
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", unknown)
    host = "no-such-host.invalid"
    assert compare(f"http://{host}:80", f"http://{host}:81", "--allow-host", host) == 4
    assert "does not resolve" in capsys.readouterr().err


# -- servers that answer badly -----------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "tool", "said"),
    [
        ("redirect", "", "redirects to /elsewhere"),
        ("status", "", "status 421"),
        ("cut", "", "closed inside the body"),
        ("garbage", "", "not HTTP"),
        ("never", "", "no whole answer within"),
        ("large", "", "over 4 MiB"),
        ("html", "describe", "HTML"),
        ("rpc_error", "describe", "rpc error"),
        ("tool_error", "describe", "tool error"),
        ("id_mismatch", "describe", "id mismatch"),
        ("redirect", "describe", "redirects"),
    ],
)
def test_a_server_that_answers_badly_is_named_and_not_loaded(
    way, tool, said, good, no_load, capsys, monkeypatch
):
    monkeypatch.setattr("verbs.compare_ask._TIMEOUT_S", 0.3)
    with tiny_server(way) as bad:
        code = compare(good.url, bad.url, *(["--mcp", tool] if tool else []))
    err = capsys.readouterr().err
    assert code == 4
    assert "b cannot be compared" in err
    assert said in err
    assert "no load was sent to either side" in err


def test_a_port_that_nobody_listens_on_is_named(good, no_load, capsys):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}"
    assert compare(url, good.url) == 4
    err = capsys.readouterr().err
    assert "a cannot be compared" in err
    assert "nothing listens" in err


def test_tls_that_does_not_fit_is_named(good, no_load, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("verbs.compare_ask._TIMEOUT_S", 0.3)  # the plain server waits for more of a request
    assert compare(good.url, good.url.replace("http:", "https:")) == 4
    assert "is that port served over TLS" in capsys.readouterr().err
    monkeypatch.setattr("verbs.compare_ask._TIMEOUT_S", 2.0)
    with _tls_server(tmp_path) as url:
        assert compare(good.url, url) == 4
    assert "certificate is not trusted" in capsys.readouterr().err


def _tls_server(folder: Path) -> Any:
    """Serve TLS with a certificate that nobody signed, for another name."""
    import contextlib
    import datetime as dt
    import threading

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "other.example")])
    now = dt.datetime.now(dt.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + dt.timedelta(1))
    file = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)

    @contextlib.contextmanager
    def serving() -> Iterator[str]:
        listener = socket.create_server(("127.0.0.1", 0))

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    sock, _ = listener.accept()
                    with contextlib.suppress(OSError):
                        context.wrap_socket(sock, server_side=True).close()

        threading.Thread(target=accept, daemon=True).start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        listener.close()

    return serving()


def test_a_server_that_fails_now_and_then_is_left_to_the_load(good, monkeypatch):
    from verbs.compare_ask import ask_once

    with tiny_server("status") as moody:
        answer = moody._answer
        told: list[int] = []

        def second_time(call_id: int | None) -> bytes:
            told.append(1)
            moody.way = "status" if len(told) < 2 else "ok"
            return answer(call_id)

        monkeypatch.setattr(moody, "_answer", second_time)
        ask_once("b", moody.url, "")
    assert len(told) == 2


# -- whole comparisons of known sides ----------------------------------------------------


@dataclass(frozen=True)
class Known:
    """Latencies of 5 ms (sigma 0.1): B `factor` times slower, and a share of it failing."""

    factor: float = 1.0
    failing: float = 0.0
    late_ms: float = 0.02

    def rows(self, plan: LoadPlan) -> Any:
        """Return the log of a run that went as planned, one server and one workload."""
        draw = np.random.default_rng(1)
        rounds = plan.warmup_rounds + plan.measured_rounds
        rows = np.zeros(2 * rounds, np.dtype(list(ROW_FIELDS)))
        rows["pair"] = np.arange(rounds).repeat(2)
        rows["side"] = np.stack([first := draw.integers(0, 2, rounds), 1 - first], axis=1).ravel()
        rows["planned_ns"] = START_NS + np.arange(2 * rounds) * plan.slot_ns
        rows["sent_ns"] = rows["planned_ns"] + int(self.late_ms * 1e6)
        latency_ms = 5.0 * np.exp(draw.normal(0, 0.1, 2 * rounds)) * np.where(rows["side"], self.factor, 1.0)
        rows["done_ns"] = rows["sent_ns"] + (latency_ms * 1e6).astype(np.uint64)
        rows["status"] = 200
        rows["flags"] = np.where(rows["pair"] < plan.warmup_rounds, WARMUP, 0)
        if self.failing:
            failed = (rows["side"] == 1) & (rows["pair"] % round(1 / self.failing) == 0)
            rows["error"][failed] = ErrorKind.STATUS
        return rows


def known(monkeypatch: pytest.MonkeyPatch, of: Known, *, complete: bool = True) -> None:
    """Put a load of known latencies in the place of the generator."""

    def load(profile: Any, targets: Any, folder: Path, _say: Any) -> LoadRun:
        plan = make_plan(profile, targets)
        plan.save(folder)
        rows = of.rows(plan)
        rows.tofile(folder / "requests.bin")
        lines: list[dict[str, Any]] = [{"start_ns": START_NS, "wall": "2026-01-01T00:00:00+00:00"}]
        for second in range(int(len(rows) * plan.slot_ns / 1e9) + 2):
            counters = {"steal_jiffies": 0, "total_jiffies": 200 * second, "cpu_ns": second * 10**8}
            lines.append({"at_ns": START_NS + second * 10**9, **counters})
        lines.append({"end": "finished", "rounds": plan.measured_rounds})
        (folder / "generator.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        reason = "" if complete else "Locust was killed by SIGKILL\nlast lines"
        return LoadRun(complete, reason, 0 if complete else -9, "", 10.0, folder, len(rows))

    monkeypatch.setattr("verbs.compare._load", load)


@pytest.mark.parametrize(
    ("of", "margin", "code", "verdict", "said"),
    [
        (Known(), "10%", 0, "GO", "every blocking endpoint stays under its margin"),
        (Known(1.05), "2%", 1, "NO-GO", "over the margin 2.0 %"),
        (Known(1.02), "2%", 3, "INCONCLUSIVE", "would decide"),
        (Known(failing=0.02), "10%", 1, "NO-GO", "errors: a 0 of 5000, b"),
        (Known(failing=0.01), "10%", 1, "NO-GO", "errors: a 0 of 5000, b 50 of 5000"),
        (Known(failing=1.0), "10%", 3, "INVALID", "b served none of 5000 requests"),
        (Known(late_ms=40.0), "10%", 3, "INVALID", "requests were sent late"),
    ],
)
def test_known_sides_get_their_verdict_and_code(of, margin, code, verdict, said, good, capsys, monkeypatch):
    known(monkeypatch, of)
    url = f"{good.url}/"
    assert compare(url, url, "--margin", margin, "--json", rate="1000", duration="10") == code
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert list(found) == KEYS
    assert found["verdict"] == verdict
    assert any(said in why for why in found["why"]), found["why"]
    assert [(one["name"], one["quantile"]) for one in found["endpoints"]] == [("GET", 0.5), ("GET", 0.95)]
    assert all(set(one) == ENDPOINT_KEYS for one in found["endpoints"])
    assert set(found["generator"]) == {"cpu", "late", "dropped", "steal"}
    assert found["margin"] == float(margin[:-1]) / 100
    assert f"{verdict}: is B no slower than A?" in err
    assert "swarm" not in out + err
    assert "kubernetes" not in out + err


def test_a_load_that_was_killed_has_no_verdict(good, capsys, monkeypatch):
    known(monkeypatch, Known(), complete=False)
    assert compare(good.url, good.url, "--json") == 3
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "INVALID"
    assert any("killed by SIGKILL" in why for why in found["why"])


def test_no_verdict_says_what_would_give_one(good, capsys, monkeypatch):
    known(monkeypatch, Known())
    assert compare(good.url, good.url, rate="200", duration="10") == 3
    err = capsys.readouterr().err
    assert "next: --duration 33" in err, "2,995 clean requests a side at 100 a second, and a tenth more"
    known(monkeypatch, Known(late_ms=40.0))
    assert compare(good.url, good.url, rate="1000") == 3
    assert "next: lower --rate" in capsys.readouterr().err


def test_without_json_stdout_stays_empty(good, capsys, monkeypatch):
    known(monkeypatch, Known())
    assert compare(good.url, good.url, "--mcp", "describe", rate="1000") == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "tools/call describe p95" in err


def test_a_real_load_from_the_command_line(good):
    """As a user runs it; too short to decide anything, and it says what would."""
    argv = ["compare", "--a", good.url, "--b", good.url, "--rate", "100", "--duration", "1", "--json"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "gonogo.py"), *argv],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    found = json.loads(done.stdout)
    assert list(found) == KEYS
    assert found["verdict"] in ("INCONCLUSIVE", "INVALID")
    assert found["errors"]["n_a"] == found["errors"]["n_b"] > 0


def test_more_than_the_generator_can_send_is_invalid_and_says_so(good, capsys):
    """Whole: 60,000 requests a second are more than one process sends, whoever answers."""
    assert compare(good.url, good.url, "--json", rate="60000", duration="2") == 3
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["verdict"] == "INVALID"
    assert any("generator" in why or "sent late" in why for why in found["why"]), found["why"]
    assert {one["outcome"] for one in found["endpoints"]} <= {"INVALID", "INCONCLUSIVE"}
    assert "next:" in err
    assert "Traceback" not in err


def test_a_certificate_of_another_name_is_named_though_its_issuer_is_trusted(
    good, no_load, capsys, tmp_path, monkeypatch
):
    ca_file, context = certificate(tmp_path, "other", "127.0.0.2")
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    with serving(ways.ok, tls=context) as (server,):
        assert compare(good.url, server.url.replace("http:", "https:")) == 4
    err = capsys.readouterr().err
    assert "certificate is not trusted" in err
    assert "IP address mismatch" in err


@pytest.mark.parametrize(
    ("way", "said"),
    [
        (ways.endless, "b cannot be compared"),
        (ways.drip, "no whole answer within"),
        (ways.huge_headers, "b cannot be compared"),
    ],
)
def test_an_answer_without_end_is_named(way, said, good, no_load, capsys, monkeypatch):
    monkeypatch.setattr("verbs.compare_ask._TIMEOUT_S", 0.5)
    with serving(way) as (server,):
        assert compare(good.url, server.url) == 4
    err = capsys.readouterr().err
    assert said in err
    assert "next:" in err
    assert "no load was sent to either side" in err
