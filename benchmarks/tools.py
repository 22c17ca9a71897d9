"""Programs of a benchmark: peers run to their end and accounted for, servers beside them, nginx."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_REAP_S = 5.0
# A process begins as a copy of the one that starts it, and the kernel's peak memory counts the copy too.
# So programs are started by this small one, or a benchmark's own memory would be every peer's.
_LAUNCH = """
import json, os, sys, time
begin = time.perf_counter()
pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
wall_s = time.perf_counter() - begin
row = [os.waitstatus_to_exitcode(status), wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024]
os.write(int(sys.argv[1]), json.dumps(row).encode())
"""
_MOST_INLINE_BYTES = 2048


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that was run to its end: wall and CPU seconds, peak memory, what it printed."""

    argv: tuple[str, ...]
    returncode: int
    wall_s: float
    cpu_s: float
    peak_bytes: int
    output: str


class ToolFailed(RuntimeError):
    """A program of a benchmark did not do its work; nothing may be concluded from it."""


def run_tool(
    argv: Sequence[str],
    *,
    timeout_s: float,
    cpu: int | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
) -> Finished:
    """Run a program to its end, bounded, pinned to one CPU when asked, and account for it.

    CPU time is what getrusage(RUSAGE_CHILDREN) gains by it, user and system, read for
    this child alone (wait4), so a server that runs beside it is not counted.
    Raises ToolFailed when it runs over its bound or, with `check`, fails.
    """
    pinned = ("taskset", "-c", str(cpu), *argv) if cpu is not None else tuple(argv)
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as account:
        process = subprocess.Popen(
            (sys.executable, "-I", "-S", "-c", _LAUNCH, str(account.fileno()), *pinned),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=None if env is None else dict(env),
            start_new_session=True,
            pass_fds=(account.fileno(),),
        )
        in_time = _ends(process.pid, timeout_s)
        if not in_time:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for file in (output, account):
            file.seek(0)
        text = output.read().decode("utf-8", "backslashreplace")
        noted = account.read()
    if not in_time:
        raise ToolFailed(f"{' '.join(argv)}: not done within {timeout_s:g} s")
    if not noted:
        raise ToolFailed(f"{' '.join(argv)}: was not started: {text[-2000:].strip()}")
    returncode, wall_s, cpu_s, peak_bytes = json.loads(noted)
    if check and returncode:
        raise ToolFailed(f"{' '.join(argv)}: exit status {returncode}: {text[-2000:].strip()}")
    return Finished(tuple(argv), returncode, wall_s, cpu_s, peak_bytes, text)


def _ends(pid: int, timeout_s: float) -> bool:
    """Return whether a child ends in time; nothing is polled, so nothing is disturbed."""
    descriptor = os.pidfd_open(pid)
    try:
        return bool(select.select([descriptor], [], [], timeout_s)[0])
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def server(argv: Sequence[str], *, cpu: int | None = None, cwd: Path | None = None) -> Iterator[int]:
    """Run a server while the block lasts and give its pid; ended with SIGTERM, then SIGKILL."""
    pinned = ("taskset", "-c", str(cpu), *argv) if cpu is not None else tuple(argv)
    process = subprocess.Popen(
        pinned, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=cwd
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(_REAP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def nginx(body: bytes = b"ok", *, cpu: int | None = None) -> Iterator[str]:
    """Serve `body` by nginx on a free loopback port while the block lasts, and give its URL.

    One worker, keep-alive without end, no log; nothing of it outlives the block, and no
    service is started. Raises ToolFailed when it does not come up in 5 s.
    """
    with tempfile.TemporaryDirectory(prefix="gonogo-nginx-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the worker may be another user
        (folder / "body").write_bytes(body)
        port = free_port()
        (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, port=port, text=_quoted(body)))
        with server(["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")], cpu=cpu):
            wait_for_port(port)
            yield f"http://127.0.0.1:{port}"


_NGINX = """\
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 3600s; tcp_nodelay on;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5; default_type application/json;
  server {{ listen 127.0.0.1:{port}; root {folder}; error_page 405 =200 /body; location / {{ {text} }} }}
}}
"""


def _quoted(body: bytes) -> str:
    """Return the line that answers with `body`: from the configuration if it fits, else from the file."""
    text = body.decode("latin-1")
    if len(body) <= _MOST_INLINE_BYTES and not set(text) & set("'\\${}\n\r"):
        return f"return 200 '{text}';"
    return "try_files /body =404;"


def free_port() -> int:
    """Return a loopback port that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_for_port(port: int, timeout_s: float = 5.0) -> None:
    """Return when something listens on a loopback port; ToolFailed when nothing does in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.5):
            return
        time.sleep(0.02)
    raise ToolFailed(f"nothing listens on 127.0.0.1:{port} after {timeout_s:g} s")


def installed(tool: str) -> str | None:
    """Return the path of a peer's program, or None where this machine has none."""
    return shutil.which(tool) or shutil.which(tool, path="/usr/sbin:/sbin")


def cores() -> tuple[int, int]:
    """Return the CPU for the server under test and the CPU for the generator: first and last."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]
