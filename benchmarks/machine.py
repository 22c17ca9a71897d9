"""The machine a table was measured on: its processor, the versions of what took part, the date."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.tools import installed


def version_of(tool: str, *options: str) -> str:
    """Return what a program says about its version, in one line; empty where it says nothing."""
    path = installed(tool)
    if path is None:
        return ""
    done = subprocess.run(
        [path, *(options or ("--version",))],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else ""


def package_version(name: str) -> str:
    """Return the version of an installed Python package; empty where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where and when a table was measured."""

    cpu: str
    cores: int
    memory_gib: float
    kernel: str
    versions: str
    date: str

    def line(self) -> str:
        """Return it in one line, for the foot of a table."""
        return (
            f"{self.date}; {self.cores} cores, {self.cpu}, {self.memory_gib:.0f} GiB, Linux {self.kernel}; "
            f"{self.versions}"
        )


_PACKAGES = ("locust", "numpy", "pandas", "polars", "scipy", "kubernetes", "mcp", "pytest")
_TOOLS = ("nginx", "wrk", "wrk2", "hey")


def machine() -> Machine:
    """Return this machine, the versions of what takes part, and the time in UTC."""
    versions = [f"Python {platform.python_version()}"]
    versions += [f"{name} {version}" for name in _PACKAGES if (version := package_version(name))]
    versions += [f"{name} {_tool_version(name)}" for name in _TOOLS if installed(name)]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=pages / 2**30,
        kernel=platform.release().split("-")[0],
        versions=", ".join(versions),
        date=dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _tool_version(name: str) -> str:
    """Return the version of a peer: Debian's record of its package, or what it prints itself."""
    package = {"nginx": "nginx-light", "wrk2": "wrk2"}.get(name, name)
    query = ["dpkg-query", "-W", "-f", "${Version}", package]
    if shutil.which("dpkg-query"):
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=False)
        if done.returncode == 0 and done.stdout:
            return done.stdout
    return version_of(name, "-v").rsplit("/", 1)[-1] or "of unknown version"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()
