"""One run per target: a lock file that dies with its holder and names it meanwhile."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from provisioners.errors import TargetRefused
from provisioners.lab.paths import state_dir

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def lease(target: str) -> Iterator[None]:
    """Hold the lease of a target; the kernel gives it back however this process ends.

    Raises:
        TargetRefused: another process holds it; names its pid, host, age and command.
    """
    folder = state_dir() / "leases"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{target}.lock"
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise TargetRefused(
                f"another gonogo is working on target {target!r}",
                why=_holder(file.read()),
                next_step="wait until it ends, or stop it",
            ) from None
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _holder(text: str) -> str:
    try:
        row = json.loads(text)
        age_s = time.time() - float(row["since"])
        return f"pid {row['pid']} on {row['host']}, since {age_s:.0f} s"
    except (ValueError, KeyError, TypeError):
        return "its holder has not written its name yet"
