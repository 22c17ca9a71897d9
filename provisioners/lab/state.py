"""What the lab keeps of itself while it is up: a few facts, and the lock of who changes it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from typing import TYPE_CHECKING

from provisioners.errors import TargetRefused
from provisioners.lab.paths import lab_dir, state_dir

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


def read_facts() -> dict[str, str]:
    """Return what was noted when the hosts came up: level, engine, IPVS; empty when none are up."""
    path = state_dir() / "lab" / "facts.json"
    data = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {str(key): str(value) for key, value in data.items()}


def write_facts(facts: Mapping[str, str]) -> None:
    """Note the facts of the lab that is up."""
    write_secret(lab_dir() / "facts.json", json.dumps(facts).encode())


def add_facts(facts: Mapping[str, str]) -> None:
    """Note more facts of the lab that is up, beside those that are there."""
    write_facts({**read_facts(), **facts})


def write_secret(path: Path, data: bytes) -> None:
    """Write a file that only its owner ever reads, in one go."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    fresh.write_bytes(data)
    fresh.replace(path)


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """Hold the machine's one lab; a second `up` or `down` is told who holds it."""
    state_dir().mkdir(mode=0o700, parents=True, exist_ok=True)
    with (state_dir() / "lab.lock").open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise TargetRefused(
                f"another gonogo (pid {file.read().strip() or 'unknown'}) is changing the lab",
                where=file.name,
                next_step="wait for it, or end it",
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
