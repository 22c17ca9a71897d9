"""Install locked Python packages into a root file system, with this machine's own pip and its settings.

pip runs outside and is told which Python it installs for: so the host's index, proxy and CA
configuration are used as they are, and neither pip nor any of those settings enters the image.
"""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path

from provisioners.errors import ProvisionError
from provisioners.shell import CommandError, run

_BOUND_S = 600.0
_GLIBC = ("2_28", "2_27", "2_24", "2_17", "2_12", "2_5")  # newest first; trixie's own is newer


def install_packages(requirements: Path, root: Path, folder: str) -> None:
    """Install exactly what `requirements` locks into `folder` of the root file system."""
    major, minor = _python_version(root)
    machine = platform.machine()
    platforms = [f"--platform=manylinux_{glibc}_{machine}" for glibc in _GLIBC]
    argv = [
        *_pip(),
        "install",
        "--quiet",
        "--no-deps",
        "--no-compile",
        "--no-input",
        "--only-binary=:all:",
        f"--target={root / folder}",
        "--implementation=cp",
        f"--python-version={major}.{minor}",
        f"--abi=cp{major}{minor}",
        *("--abi=abi3", "--abi=none"),
        *platforms,
        f"--platform=manylinux2014_{machine}",
        f"--requirement={requirements}",
    ]
    result = run(argv, timeout_s=_BOUND_S)
    if not result.ok:
        raise CommandError(result, next_step="check that pip can install here: pip download mcp")


def _python_version(root: Path) -> tuple[int, int]:
    """Return major and minor version of the root file system's python3."""
    target = (root / "usr/bin/python3").readlink().name
    found = re.fullmatch(r"python(\d+)\.(\d+)", target)
    if not found:
        raise ProvisionError(f"python3 leads to {target!r}, not to a versioned Python", where=str(root))
    return int(found[1]), int(found[2])


def _pip() -> list[str]:
    """Return how to call pip: this Python's own, else the one that came with it to make environments."""
    if run([sys.executable, "-m", "pip", "--version"]).ok:
        return [sys.executable, "-m", "pip"]
    import ensurepip

    bundled = sorted((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
    if not bundled:
        raise ProvisionError(
            "no pip for this Python",
            where=sys.executable,
            next_step="install it: python3 -m ensurepip, or apt-get install -y python3-pip",
        )
    return [sys.executable, f"{bundled[-1]}/pip"]
