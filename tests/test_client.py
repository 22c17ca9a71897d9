"""The open-loop client on real sockets: servers that misbehave, stalls, late and dropped sends, TLS, MCP."""

import datetime as dt
import ipaddress
import socket
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from loadtests import open_loop
from loadtests.buckets import read_histogram, write_histograms
from loadtests.client import client_command
from loadtests.endpoint import make_endpoints
from loadtests.errors import LoadInputError, LoadRefused
from loadtests.open_loop import OpenLoop, awake_ns, run_open_loop
from loadtests.outcome import LoopEnd, Progress
from loadtests.plan import LoadPlan, make_plan
from loadtests.profile import HEALTH, SESSION, TOOLS_CALL, TOOLS_LIST, LoadProfile, LoadTargets, Server
from loadtests.record import FINISHED, STOPPED, read_log
from loadtests.sample import RETRIED, ErrorKind, read_samples, read_timings
from loadtests.summarize import summarize
from tests import bad_server as ways
from tests.bad_server import serving

pytestmark = pytest.mark.live

ROOT = Path(__file__).resolve().parent.parent
NAMELESS = "nowhere.invalid"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Start at once, and know without asking that one name does not exist."""
    real = socket.getaddrinfo

    def getaddrinfo(host, *args, **kwargs):
        if host == NAMELESS:
            raise socket.gaierror(-2, "Name or service not known")
        return real(host, *args, **kwargs)

    monkeypatch.setattr(open_loop, "_LEAD_NS", 20_000_000)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@dataclass
class Ran:
    folder: Path
    plan: LoadPlan
    end: LoopEnd
    rows: npt.NDArray[Any]

    def of(self, name: str) -> npt.NDArray[Any]:
        index = [server.name for server in self.plan.servers].index(name)
        rows: npt.NDArray[Any] = self.rows[self.rows["server"] == index]
        return rows

    def details(self, name: str) -> list[str]:
        lines = read_log(self.folder / "generator.jsonl").errors
        return [str(line["detail"]) for line in lines if line["server"] == name]


def drive(
    folder: Path,
    urls: dict[str, str],
    *,
    rate: float = 200,
    seconds: float = 0.2,
    workloads: tuple[str, ...] = (TOOLS_CALL,),
    timeout_s: float = 0.25,
    allowed: tuple[str, ...] = (),
    ca_file: Path | None = None,
    on_progress=None,
    on_start=None,
    limits=None,
    **more: Any,
) -> Ran:
    """Send a short plan in this process; a server per name, the same on both sides."""
    profile = LoadProfile(
        "test",
        rate,
        seconds,
        0,
        workloads=tuple((name, 1) for name in workloads),
        timeout_s=timeout_s,
        max_extension=1.0,
        seed=3,
        **more,
    )
    targets = LoadTargets(tuple(Server(name, url, url) for name, url in urls.items()), allowed)
    plan = make_plan(profile, targets)
    plan.save(folder)
    end = run_open_loop(
        plan,
        targets,
        folder,
        ca_file=ca_file,
        on_progress=on_progress,
        on_start=on_start,
        limits=limits,
    )
    return Ran(folder, plan, end, read_samples(folder / "requests.bin"))


KINDS = {
    ways.ok: ErrorKind.NONE,
    ways.chunked_odd: ErrorKind.NONE,
    ways.sse_split: ErrorKind.NONE,
    ways.interim: ErrorKind.NONE,
    ways.until_close: ErrorKind.NONE,
    ways.says_close: ErrorKind.NONE,
    ways.sse_never_ends: ErrorKind.TIMEOUT,
    ways.never: ErrorKind.TIMEOUT,
    ways.drip: ErrorKind.TIMEOUT,
    ways.cut: ErrorKind.CLOSED,
    ways.cut_chunk: ErrorKind.CLOSED,
    ways.reset: ErrorKind.CLOSED,
    ways.garbage: ErrorKind.GARBAGE,
    ways.two_lengths: ErrorKind.GARBAGE,
    ways.too_much: ErrorKind.GARBAGE,
    ways.huge_headers: ErrorKind.TOO_LARGE,
    ways.declared_huge: ErrorKind.TOO_LARGE,
    ways.endless: ErrorKind.TOO_LARGE,
    ways.no_body: ErrorKind.STATUS,
    ways.unmodified: ErrorKind.REDIRECT,
    ways.redirect: ErrorKind.REDIRECT,
    ways.misdirected: ErrorKind.STATUS,
    ways.html: ErrorKind.NOT_JSON,
    ways.wrong_id: ErrorKind.ID_MISMATCH,
    ways.is_error: ErrorKind.TOOL_ERROR,
    ways.rpc_error: ErrorKind.RPC_ERROR,
}
SAID = {
    "never": "no byte of an answer in 0.6 s",
    "drip": "no whole headers",
    "sse_never_ends": "no end of the event stream",
    "cut": "closed inside the body after 5 bytes",
    "two_lengths": "Content-Length",
    "too_much": "4 bytes more",
    "misdirected": "HTTP 421",
    "is_error": "isError",
    "refused": "refused",
    "nameless": "nowhere.invalid could not be resolved",
}


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    """One run over every bad server at once, and over a refused port and a name that is none."""
    folder = tmp_path_factory.mktemp("bad")
    with socket.create_server(("127.0.0.1", 0)) as unused:
        closed_port = unused.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch, serving(*KINDS) as servers:
        real = socket.getaddrinfo
        patch.setattr(open_loop, "_LEAD_NS", 20_000_000)

        def getaddrinfo(host, *args, **kwargs):
            if host == NAMELESS:
                raise socket.gaierror(-2, "Name or service not known")
            return real(host, *args, **kwargs)

        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        urls = {server.way.__name__: server.url for server in servers}
        urls |= {"refused": f"http://127.0.0.1:{closed_port}", "nameless": f"http://{NAMELESS}:80"}
        yield drive(
            folder, urls, rate=700, seconds=0.4, timeout_s=0.6, allowed=(NAMELESS,), senders_per_side=100
        )


@pytest.mark.parametrize("way", [*(way.__name__ for way in KINDS), "refused", "nameless"])
def test_each_bad_answer_has_its_kind(bad, way):
    kinds = {found.__name__: kind for found, kind in KINDS.items()}
    kinds |= {"refused": ErrorKind.REFUSED, "nameless": ErrorKind.DNS}
    rows = bad.of(way)
    assert len(rows) >= 4, "each side was sent to more than once"
    assert {ErrorKind(int(error)).name for error in rows["error"]} == {kinds[way].name}, bad.details(way)
    assert (rows["done_ns"] >= rows["sent_ns"]).all()
    assert (rows["sent_ns"] >= rows["planned_ns"]).all()
    details = bad.details(way)
    assert bool(details) == (kinds[way] is not ErrorKind.NONE)
    if way in SAID:
        assert SAID[way] in details[0]


def test_a_run_over_bad_servers_is_whole_and_counts_every_planned_request(bad):
    assert bad.end.complete
    assert len(bad.rows) == 2 * bad.plan.measured_rounds * bad.plan.pairs_per_round == bad.end.requests
    assert read_log(bad.folder / "generator.jsonl").end["end"] == FINISHED
    pairs = np.bincount(bad.rows["pair"])
    assert (pairs == 2).all(), "both sides, each once"
    assert any(NAMELESS in note for note in bad.end.notes)
    timed_out = bad.of("never")
    waited_ms = (timed_out["done_ns"] - timed_out["sent_ns"]) / 1e6
    assert waited_ms.min() >= 600
    assert waited_ms.max() < 3000
    summary = summarize(bad.folder)
    assert summary.complete
    kinds = {kind for row in summary.errors for kind in row.kinds}
    assert {"timeout", "closed", "garbage", "too_large", "dns", "refused"} <= kinds


def test_first_byte_connect_and_last_byte_are_kept(bad):
    times = read_timings(bad.folder / "timings.bin")
    assert len(times) == len(bad.rows)
    names = [server.name for server in bad.plan.servers]
    closing = bad.rows["server"] == names.index("says_close")
    first = times["first_ns"][closing]
    assert (first >= bad.rows["sent_ns"][closing]).all()
    assert (first <= bad.rows["done_ns"][closing]).all()
    assert (times["connect_us"][closing] > 0).sum() >= 2, "it connects anew but for the warm connections"
    stays = bad.rows["server"] == names.index("ok")
    assert (times["connect_us"][stays] == 0).sum() >= 2, "connected before"
    assert not times["tls_us"].any()
    none = bad.rows["server"] == names.index("never")
    assert not times["first_ns"][none].any()


def test_health_looks_at_the_status_only(tmp_path):
    with serving(ways.html, ways.misdirected) as (html, other):
        ran = drive(tmp_path, {"html": html.url, "other": other.url}, workloads=(HEALTH,))
    assert set(ran.of("html")["error"]) == {ErrorKind.NONE}
    assert set(ran.of("other")["error"]) == {ErrorKind.STATUS}
    assert set(ran.of("other")["status"]) == {421}


def test_an_idle_connection_that_the_server_closed_is_repeated_once_and_counted(tmp_path):
    with serving(ways.closes_idle) as (server,):
        ran = drive(tmp_path, {"one": server.url}, workloads=(TOOLS_LIST,), rate=100, timeout_s=2.0)
    assert set(ran.rows["error"]) == {ErrorKind.NONE}
    retried = (ran.rows["flags"] & RETRIED) != 0
    assert ran.end.retried == retried.sum() >= 2
    assert summarize(tmp_path).generator.retried == retried.sum()


def test_a_session_is_begun_kept_and_renewed_when_it_is_lost(tmp_path):
    with serving(ways.gives_session) as (server,):

        def lose(progress) -> None:
            if not lost and progress.sent["swarm"] > 10:
                lost.append(True)
                server.sessions.clear()

        lost: list[bool] = []
        ran = drive(tmp_path, {"one": server.url}, rate=200, seconds=0.6, on_progress=lose)
        assert lost, "progress was told"
        heads = [head.lower() for head in server.heads if b"mcp-session-id" in head.lower()]
    assert all(b"mcp-protocol-version: 2025-06-18" in head for head in heads)
    failed = ran.rows[ran.rows["error"] != ErrorKind.NONE]
    assert ran.end.sessions_renewed >= 1
    assert 0 < len(failed) < len(ran.rows) / 2
    assert set(failed["status"]) == {404}
    assert ran.rows["error"][np.argsort(ran.rows["planned_ns"])[-1]] == ErrorKind.NONE, "it goes on"
    assert "the session was lost" in ran.details("one")[0]


def test_a_visit_of_a_whole_session_is_one_row(tmp_path):
    with serving(ways.ok) as (plain,):
        ran = drive(tmp_path, {"one": plain.url}, workloads=(SESSION,), rate=40)
        assert set(ran.rows["error"]) == {ErrorKind.NONE}
        per_visit = plain.requests / len(ran.rows)
    assert per_visit == 7, "initialize, initialized, five calls"
    with serving(ways.is_error, ways.wrong_id) as (failing, confused):
        ran = drive(tmp_path, {"a": failing.url, "b": confused.url}, workloads=(SESSION,), rate=40)
    assert set(ran.of("a")["error"]) == {ErrorKind.TOOL_ERROR}
    assert set(ran.of("b")["error"]) == {ErrorKind.ID_MISMATCH}


def certificate(folder: Path, name: str, address: str) -> tuple[Path, ssl.SSLContext]:
    """Return a CA file that is a self-signed certificate of `name`, and a server context with it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address(address))]
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return path, context


def test_tls_is_checked_by_chain_and_by_name(tmp_path):
    ca_file, right = certificate(tmp_path, "right", "127.0.0.1")
    _, stranger = certificate(tmp_path, "stranger", "127.0.0.1")
    wrong_ca, wrong = certificate(tmp_path, "wrong", "127.0.0.2")
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(ca_file.read_bytes() + wrong_ca.read_bytes())
    with (
        serving(ways.ok, ways.says_close, tls=right) as (good, closing),
        serving(ways.ok, tls=stranger) as (other,),
        serving(ways.ok, tls=wrong) as (misnamed,),
        serving(ways.ok) as (plain,),
    ):
        urls = {
            "right": good.url,
            "closing": closing.url,
            "stranger": other.url,
            "wrong": misnamed.url,
            "plain": plain.url.replace("http:", "https:"),
        }
        ran = drive(tmp_path, urls, ca_file=bundle, rate=250, seconds=0.16, timeout_s=1.0)
    for name in ("right", "closing"):
        assert set(ran.of(name)["error"]) == {ErrorKind.NONE}, ran.details(name)
    for name, said in (("stranger", "self-signed"), ("wrong", "IP address mismatch")):
        assert set(ran.of(name)["error"]) == {ErrorKind.TLS}, ran.details(name)
        assert said in ran.details(name)[0]
    assert set(ran.of("plain")["error"]) == {ErrorKind.TIMEOUT}
    assert "no TLS handshake" in ran.details("plain")[0]
    times = read_timings(tmp_path / "timings.bin")
    closing_rows = ran.rows["server"] == 1
    assert (times["tls_us"][closing_rows] > 0).any()


def test_a_stall_is_seen_whole_by_every_request_that_was_planned_in_it(tmp_path):
    gate = threading.Event()
    gate.set()

    def stalls(talk) -> None:
        gate.wait(2)
        ways.ok(talk)

    def stall() -> None:
        time.sleep(0.15)
        began.append(time.monotonic_ns())
        gate.clear()
        time.sleep(0.2)
        gate.set()
        began.append(time.monotonic_ns())

    began: list[int] = []
    with serving(stalls) as (server,):
        thread = threading.Thread(target=stall)
        thread.start()
        ran = drive(
            tmp_path,
            {"one": server.url},
            workloads=(HEALTH,),
            rate=250,
            seconds=0.5,
            timeout_s=1.0,
            senders_per_side=4,
        )
        thread.join()
    rows = ran.rows
    assert set(rows["error"]) == {ErrorKind.NONE}
    inside = (rows["planned_ns"] > began[0] + 5e6) & (rows["planned_ns"] < began[1] - 20e6)
    assert inside.sum() > 20
    missed_ms = (began[1] - rows["planned_ns"].astype(np.int64)[inside]) / 1e6
    latency_ms = (rows["done_ns"].astype(np.int64) - rows["planned_ns"].astype(np.int64))[inside] / 1e6
    assert (latency_ms >= missed_ms - 1).all(), "each waited from its own planned time"
    late = rows["sent_ns"][inside] - rows["planned_ns"][inside] > 1_000_000
    assert late.sum() > 10, "with 4 connections a side most waited to be sent"
    assert ran.end.late >= late.sum()
    service_ms = (rows["done_ns"] - rows["sent_ns"])[inside] / 1e6
    assert np.median(service_ms) < np.median(latency_ms) / 2, "a closed loop would have seen only this"


def test_what_cannot_be_sent_in_time_is_dropped_and_counted(tmp_path):
    with serving(ways.never) as (server,):
        ran = drive(
            tmp_path,
            {"one": server.url},
            workloads=(HEALTH,),
            rate=200,
            seconds=0.3,
            timeout_s=0.15,
            drop_after_s=0.05,
            senders_per_side=2,
        )
    dropped = ran.rows["error"] == ErrorKind.DROPPED
    assert set(ran.rows["error"]) == {ErrorKind.DROPPED, ErrorKind.TIMEOUT}
    assert dropped.sum() == ran.end.dropped > 20
    assert not ran.rows["sent_ns"][dropped].any()
    assert ran.end.requests == (~dropped).sum() >= 4
    assert ran.end.flags["dropped"] >= 1
    age_ms = (ran.rows["done_ns"] - ran.rows["planned_ns"])[dropped] / 1e6
    assert age_ms.min() > 50
    assert age_ms.max() < 350


def test_more_than_can_be_sent_is_flagged_while_it_runs_and_still_ends(tmp_path):
    seen: list[tuple[float, tuple[str, ...]]] = []
    with serving(ways.ok) as (server,):
        ran = drive(
            tmp_path,
            {"one": server.url},
            workloads=(HEALTH,),
            rate=60_000,
            seconds=0.15,
            drop_after_s=0.02,
            on_progress=lambda told: seen.append((told.elapsed_s, told.reading.flags)),
        )
    assert ran.end.complete, "a flag is no verdict"
    assert {"lag", "dropped"} <= set(ran.end.flags)
    assert len(ran.rows) == 9_000
    assert min(at for at, flags in seen if "lag" in flags) < 1.0
    assert read_log(tmp_path / "generator.jsonl").flagged


def test_an_easy_run_raises_no_flag_of_lag_or_drops_and_its_histograms_add_up(tmp_path):
    from loadtests.watch import Limits

    with serving(ways.ok) as (server,):
        ran = drive(tmp_path, {"one": server.url}, workloads=(HEALTH,), rate=100, limits=Limits(lag_ns=10**9))
    assert not {"lag", "dropped"} & set(ran.end.flags)
    write_histograms(tmp_path)
    counts = [read_histogram(tmp_path / "histograms.bin", side, 0) for side in (0, 1)]
    assert [one.n for one in counts] == [10, 10] == [(ran.rows["side"] == side).sum() for side in (0, 1)]
    assert read_histogram(tmp_path / "histograms.bin", 0, 0, first_second=1).n == 0


def test_stopping_leaves_a_log_that_says_so(tmp_path):
    loops: list[OpenLoop] = []

    def stop(told: Progress) -> None:
        if told.sent["swarm"]:
            loops[0].stop()

    with serving(ways.ok) as (server,):
        ran = drive(tmp_path, {"one": server.url}, seconds=30, on_start=loops.append, on_progress=stop)
    assert not ran.end.complete
    assert 0 < len(ran.rows) < 1000
    assert read_log(tmp_path / "generator.jsonl").end["end"] == STOPPED


def test_the_loop_stays_awake_for_a_bounded_share_of_the_time():
    assert awake_ns(10_000_000) == 400_000
    assert awake_ns(1_000_000) == 60_000
    assert awake_ns(100_000) == 0


def plan_for(folder: Path, url: str, **more: Any) -> tuple[LoadPlan, LoadTargets]:
    targets = LoadTargets((Server("one", url, url),))
    profile = LoadProfile("test", 200, 0.5, 0, max_extension=1.0, workloads=((HEALTH, 1),), **more)
    plan = make_plan(profile, targets)
    folder.mkdir(exist_ok=True)
    plan.save(folder)
    return plan, targets


def test_an_address_that_nobody_allowed_is_refused_before_any_packet(tmp_path, monkeypatch):
    asked: list[str] = []

    def note(what: str) -> list[Any]:
        asked.append(what)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_, **__: note(host))
    monkeypatch.setattr(socket.socket, "connect", lambda *_: asked.append("connect"))
    for url in ("http://192.0.2.1:80", "http://example.invalid"):
        plan, targets = plan_for(tmp_path, url)
        with pytest.raises(LoadRefused, match="refused"):
            run_open_loop(plan, targets, tmp_path)
    plan, _ = plan_for(tmp_path, "http://192.0.2.1:80")
    with pytest.raises(LoadInputError, match="not the targets"):
        run_open_loop(
            plan, LoadTargets((Server("one", "http://127.0.0.1:1", "http://127.0.0.1:1"),)), tmp_path
        )
    assert not asked
    assert not (tmp_path / "requests.bin").exists()


@pytest.mark.parametrize(
    ("path", "ca", "said"),
    [
        ("/a b", None, "not a path"),
        ("/a\r\nX: y", None, "not a path"),
        ("/ok", "none.pem", "CA certificates"),
    ],
)
def test_what_cannot_be_asked_for_is_an_input_error(tmp_path, path, ca, said):
    server = Server("one", "https://127.0.0.1:1", "https://127.0.0.1:1", health_path=path)
    with pytest.raises(LoadInputError, match=said):
        make_endpoints([server], [HEALTH], tmp_path / ca if ca else None)


def test_the_sending_process_needs_neither_locust_nor_gevent():
    imports = (
        "import sys, loadtests.client, loadtests.open_loop, loadtests.closed_loop;"
        "sys.exit(bool({'gevent', 'locust', 'geventhttpclient'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", imports], cwd=ROOT, timeout=30, check=False).returncode == 0
    assert client_command(Path("/a"), Path("/ca.pem"))[1:] == [
        "-m", "loadtests.client", "/a", "--ca-file", "/ca.pem",
    ]  # fmt: skip
