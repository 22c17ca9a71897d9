"""What the `client_*` benchmarks run: an nginx of its own, and load tools that take turns on one CPU."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.tools import ToolFailed
from loadtests.client import READY, client_command
from loadtests.host import cpu_share
from loadtests.plan import SAMPLES_FILE, TICKS_FILE, make_plan
from loadtests.profile import HEALTH, LoadProfile, LoadTargets, Server
from loadtests.record import read_log
from loadtests.sample import read_samples
from loadtests.summarize import quantile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loadtests.record import LogLines

ROOT = Path(__file__).resolve().parents[1]
SERVER_CPU, CLIENT_CPU = 0, 1
CONNECTIONS = 32
_LEAD_NS = 500_000_000
_LIMIT_S = 20.0
_LOCUST = """
import json, os, time
from locust import FastHttpUser, HttpUser, constant, constant_throughput, events, task
rate = float(os.environ["BENCH_RATE"])
users = int(os.environ["BENCH_USERS"])
times = []

class Get({base}):
    wait_time = constant_throughput(rate / users) if rate else constant(0)

    @task
    def get(self):
        self.client.get("/")

@events.request.add_listener
def keep(response_time, **_):
    times.append(response_time)

@events.spawning_complete.add_listener
def begin(**_):
    times.clear()
    global cpu
    cpu = time.process_time()

@events.test_stop.add_listener
def end(**_):
    spent = time.process_time() - cpu
    with open(os.environ["BENCH_OUT"], "w") as out:
        json.dump({"cpu_s": spent, "requests": len(times), "times_ms": times}, out)
"""


class Nginx:
    """One worker on the server's CPU: `/` answers 2 bytes, /2k and /64k files, with and without TLS."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port, self.tls_port = _free_port(), _free_port()
        for name, size in (("2k", 2048), ("64k", 65536)):
            (folder / name).write_bytes(b"x" * size)
        self.ca_file = _certificate(folder)
        (folder / "nginx.conf").write_text(self._config(), encoding="utf-8")
        command = ["taskset", "-c", str(SERVER_CPU), "nginx", "-p", str(folder), "-c", "nginx.conf"]
        self.process = subprocess.Popen([*command, "-e", str(folder / "error.log")])
        _wait_for(self.port)

    def worker(self) -> int:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text("ascii")
        return int(children.split()[0])

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)

    def _config(self) -> str:
        folder = self._folder
        server = (
            f"root {folder}; open_file_cache max=10; access_log off; keepalive_requests 1000000000;"
            " keepalive_timeout 600; location = / { return 200 ok; }"
        )
        temporary = " ".join(
            f"{kind}_temp_path {folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        return (
            f"daemon off; worker_processes 1; pid {folder}/nginx.pid; user root;\n"
            "events { worker_connections 8192; }\n"
            f"http {{ {temporary} tcp_nodelay on;\n"
            f"server {{ listen 127.0.0.1:{self.port} backlog=4096; {server} }}\n"
            f"server {{ listen 127.0.0.1:{self.tls_port} ssl backlog=4096; {server}\n"
            f"ssl_certificate {self.ca_file}; ssl_certificate_key {self.ca_file}; }}\n}}\n"
        )


def _pinned(command: list[str], **more: Any) -> tuple[str, float]:
    """Run on the client's CPU; return what it printed and its CPU seconds, start-up included."""
    process = subprocess.Popen(
        ["taskset", "-c", str(CLIENT_CPU), *command], stdout=subprocess.PIPE, text=True, cwd=ROOT, **more
    )
    assert process.stdout is not None  # noqa: S101  a pipe was asked for
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {text[-400:]}")
    return text, usage.ru_utime + usage.ru_stime


def ours_closed(url: str, seconds: float, ca_file: Path | None = None) -> tuple[int, float]:
    options = ["--url", url, "--seconds", str(seconds)]
    text, cpu_s = _pinned(
        [
            sys.executable,
            "-m",
            "benchmarks.client_turn",
            *options,
            *(["--ca-file", str(ca_file)] if ca_file else []),
        ]
    )
    return int(text.split()[-1]), cpu_s


def wrk(url: str, seconds: float) -> tuple[int, float]:
    text, cpu_s = _pinned(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", url])
    return int(re.findall(r"(\d+) requests in", text)[0]), cpu_s


def hey(url: str, seconds: float) -> tuple[int, float]:
    text, cpu_s = _pinned(["hey", "-z", f"{seconds:g}s", "-c", str(CONNECTIONS), "-cpus", "1", url])
    return int(re.findall(r"\[200\]\s+(\d+) responses", text)[0]), cpu_s


def locust_user(
    url: str, seconds: float, rate: float = 0, users: int = CONNECTIONS, *, base: str = "FastHttpUser"
) -> dict[str, Any]:
    """Run a Locust user; its CPU is taken inside, from the end of spawning, to its advantage."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "user.py").write_text(_LOCUST.replace("{base}", base), encoding="utf-8")
        out = Path(folder) / "out.json"
        told = {"BENCH_RATE": str(rate), "BENCH_USERS": str(users), "BENCH_OUT": str(out)}
        command = [sys.executable, "-m", "locust", "-f", f"{folder}/user.py", "--headless", "-u", str(users)]
        command += [
            "-r",
            str(users),
            "-t",
            f"{seconds:g}s",
            "-H",
            url,
            "--only-summary",
            "--loglevel",
            "ERROR",
        ]
        _pinned(command, env={**os.environ, **told}, stderr=subprocess.DEVNULL)
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return found


@dataclass(frozen=True)
class Sent:
    """What the client's process left of a run: its rows, its CPU (1 is a core), and its readings."""

    rows: Any
    cpu: float
    log: LogLines

    @property
    def latency_ms(self) -> Any:
        """Latencies from the planned time."""
        return (self.rows["done_ns"] - self.rows["planned_ns"]) / 1e6

    @property
    def lag_us(self) -> Any:
        """How late each request was sent that was sent at all."""
        sent = self.rows["sent_ns"] > 0
        return (self.rows["sent_ns"][sent] - self.rows["planned_ns"][sent]) / 1e3

    @property
    def dropped(self) -> int:
        """How many were never sent."""
        return int((self.rows["sent_ns"] == 0).sum())


def ours_open(
    url: str,
    rate: float,
    seconds: float,
    *,
    drop_after_s: float = 5.0,
    senders: int = 48,
    plain: bool = False,
) -> Sent:
    """Run the client's process at a rate on its CPU; `plain` gives it no priority of its own.

    Raises ToolFailed when it does not get ready, fails, or runs over its bound.
    """
    profile = LoadProfile(
        "goal",
        rate,
        seconds,
        0.5,
        workloads=((HEALTH, 1),),
        drop_after_s=drop_after_s,
        senders_per_side=senders,
        max_extension=1.0,
    )
    targets = LoadTargets((Server("server", url, url, health_path="/"),))
    with tempfile.TemporaryDirectory(prefix="gonogo-client-") as name:
        folder = Path(name)
        make_plan(profile, targets, cpus=None if plain else str(CLIENT_CPU)).save(folder)
        command = client_command(folder)
        if plain:
            command = [sys.executable, "-m", "benchmarks.client_turn", "--plan", str(folder)]
        _run_sender(["taskset", "-c", str(CLIENT_CPU), *command], 3 * seconds + _LIMIT_S)
        log = read_log(folder / TICKS_FILE)
        span = (log.ticks[0].at_ns, log.ticks[-1].at_ns)
        return Sent(read_samples(folder / SAMPLES_FILE), cpu_share(log.ticks, *span), log)


def _run_sender(command: list[str], limit_s: float) -> None:
    """Start a sending process, tell it to begin, and see it to its end within a bound."""
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None  # noqa: S101  pipes were asked for
    assert process.stdout is not None  # noqa: S101
    try:
        if process.stdout.readline().strip() != READY:
            raise ToolFailed(f"{' '.join(command)}: it did not get ready")
        process.stdin.write(f"{time.monotonic_ns() + _LEAD_NS}\n")
        process.stdin.flush()
        if process.wait(limit_s):
            raise ToolFailed(f"{' '.join(command)}: exit status {process.returncode}")
    except subprocess.TimeoutExpired as error:
        raise ToolFailed(f"{' '.join(command)}: not done within {limit_s:g} s") from error
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def truth_ms(port: int, count: int) -> float:
    """Return the median time from send to receipt, one request a millisecond, the sender awake."""
    os.sched_setaffinity(0, {CLIENT_CPU})
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    times = []
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        due = time.monotonic_ns()
        for _ in range(count):
            due += 1_000_000
            while time.monotonic_ns() < due:
                pass
            begin = time.monotonic_ns()
            sock.send(request)
            sock.recv(4096)
            times.append((time.monotonic_ns() - begin) / 1e6)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    return quantile(times, 0.5)


@contextmanager
def stall(nginx: Nginx, after_s: float) -> Iterator[list[float]]:
    """Stop nginx's worker for a second while the block runs; yield the measured length in seconds."""
    worker = nginx.worker()
    length: list[float] = []

    def stop() -> None:
        time.sleep(after_s + 1.0)
        os.kill(worker, signal.SIGSTOP)
        begin = time.monotonic()
        time.sleep(1.0)
        os.kill(worker, signal.SIGCONT)
        length.append(time.monotonic() - begin)

    thread = threading.Thread(target=stop)
    thread.start()
    try:
        yield length
    finally:
        thread.join()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def _wait_for(port: int) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("nginx did not start within 5 s")


def _certificate(folder: Path) -> Path:
    """Write a self-signed certificate of 127.0.0.1 and its key into one file."""
    import datetime as dt
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "benchmark")])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "benchmark.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path
