"""What a report says of the machine and the code that made it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from verbs.samples import ROOT

_PACKAGES = ("pytest", "pytest-xdist", "locust", "kubernetes", "mcp", "numpy", "pydantic")


def machine_facts() -> dict[str, object]:
    """Return versions, git commit, pid and machine facts, for run.json."""
    from gonogo import __version__

    memory_kib = next(
        (
            int(line.split()[1])
            for line in Path("/proc/meminfo").read_text().splitlines()
            if line.startswith("MemTotal")
        ),
        0,
    )
    return {
        "gonogo": __version__,
        "git_commit": _commit(),
        "pid": os.getpid(),
        "machine": {
            "cores": os.cpu_count(),
            "memory_gib": round(memory_kib / 2**20, 1),
            "kernel": platform.release(),
            "architecture": platform.machine(),
        },
        "python": sys.version.split()[0],
        "packages": {name: metadata.version(name) for name in _PACKAGES},
    }


def _commit() -> str:
    found = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or "unknown"
