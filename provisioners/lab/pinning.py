"""Binds node hosts to CPUs while load runs.

With cgroup v2 Docker can do that. With v1 it cannot once containers run inside the host:
a group's CPUs must hold those of the groups below it, so they are narrowed from the
innermost group outwards and widened from the outermost inwards.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from provisioners.errors import ProvisionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioners.lab.engine import Engine

_V1 = Path("/sys/fs/cgroup/cpuset")
_ONLINE = Path("/sys/devices/system/cpu/online")
_TRIES = 5  # a group may be made while the others are written


def pin(engine: Engine, containers: Sequence[str], cpus: str | None) -> None:
    """Bind the containers and all that runs in them to these CPUs (`0`, `0-2`); None gives back every CPU.

    Raises:
        ProvisionError: a group kept other CPUs; names it.
    """
    wanted = cpus or _ONLINE.read_text(encoding="ascii").strip()
    if not (_V1 / "cpuset.cpus").exists():
        engine.run(["update", f"--cpuset-cpus={wanted}", *containers]).check()
        return
    for container in containers:
        group = _group(engine, container)
        for _ in range(_TRIES):
            left = set_cpus(group, wanted, narrow=cpus is not None)
            if not left:
                break
        else:
            raise ProvisionError(f"CPUs of {container} are not {wanted}", why=f"{left[0]} kept others")


def set_cpus(group: Path, cpus: str, *, narrow: bool) -> list[Path]:
    """Write `cpus` to a cpuset group and all groups below it; return those that kept others."""
    below = sorted(path for path in group.rglob("*") if path.is_dir())
    groups = [group, *below]
    left: list[Path] = []
    for one in reversed(groups) if narrow else groups:
        file = one / "cpuset.cpus"
        try:
            if file.read_text(encoding="ascii").strip() != cpus:
                file.write_text(cpus, encoding="ascii")
        except FileNotFoundError:
            continue  # the group ended meanwhile
        except OSError:
            left.append(one)
    return left


def _group(engine: Engine, container: str) -> Path:
    pid = engine.run(["inspect", "--format", "{{.State.Pid}}", container]).check().stdout.strip()
    for line in Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "cpuset":
            # The path is that of a process inside; the host is the container's own group.
            parts = Path(path).parts
            identity = next((i for i, part in enumerate(parts) if len(part) == 64), len(parts) - 1)  # noqa: PLR2004
            return _V1.joinpath(*parts[1 : identity + 1])
    raise ProvisionError(f"{container} has no cpuset group", where="localhost", why=f"/proc/{pid}/cgroup")
