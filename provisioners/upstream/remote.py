"""Files on a host: compare by hash, put in one go over SSH, restart the units that read them."""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioners.shell import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from provisioners.base import Node

_SECRET = 0o600
# Scripts for `sh -c SCRIPT ARGUMENTS`: names are arguments, never part of the text.
_START = """
marker=$0 verb=$1; shift
systemctl daemon-reload && systemctl enable --quiet "$@" && systemctl $verb "$@" && rm -f "$marker"
"""
_COMPARE = '[ ! -e "$0" ] && sha256sum --check --status - && stat --format=%a "$@"'


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """What a file of a host should be."""

    content: bytes
    mode: int = 0o644

    @classmethod
    def text(cls, content: str, mode: int = 0o644) -> RemoteFile:
        """Return a text file."""
        return cls(content.encode(), mode)

    @classmethod
    def secret(cls, content: bytes) -> RemoteFile:
        """Return a file that only root reads."""
        return cls(content, _SECRET)


def settle(
    node: Node, files: Mapping[str, RemoteFile], units: Sequence[str], say: Callable[[str], None]
) -> bool:
    """Make the host hold the files and run the units; return whether anything was put.

    Units are restarted when a file differed, started (a no-op where they run) when none did. A marker
    lies on the host from the first file written to the last unit restarted, so that a call which was
    killed in between is made good by the next.
    """
    marker = f"/etc/gonogo-restart-{units[0]}"
    if has_files(node, files, marker):
        _units(node, "start", units, marker)
        return False
    say(f"{node.name}: writing {len(files)} files, starting {', '.join(units)}")
    put_files(node, {marker: RemoteFile(b""), **files})
    _units(node, "restart", units, marker)
    return True


def has_files(node: Node, files: Mapping[str, RemoteFile], marker: str) -> bool:
    """Return whether the host holds every file, by hash and mode, and no call was cut off."""
    sums = "".join(f"{hashlib.sha256(f.content).hexdigest()}  {path}\n" for path, f in files.items())
    result = node.ssh.run(["sh", "-c", _COMPARE, marker, *files], stdin=sums)
    return result.ok and result.stdout.split() == [f"{f.mode:o}" for f in files.values()]


def put_files(node: Node, files: Mapping[str, RemoteFile]) -> None:
    """Write the files on the host; each is replaced, not written into."""
    argv = ["tar", "--extract", "--file=-", "--directory=/", "--preserve-permissions", "--no-same-owner"]
    result = node.ssh.run(argv, stdin=_archive(files), timeout_s=60)
    if not result.ok:
        raise CommandError(result, next_step="the user of the inventory must be root, and / writable")


def _archive(files: Mapping[str, RemoteFile]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path, file in files.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size = len(file.content)
            entry.mode = file.mode
            archive.addfile(entry, io.BytesIO(file.content))
    return buffer.getvalue()


def _units(node: Node, verb: str, units: Sequence[str], marker: str) -> None:
    result = node.ssh.run(["sh", "-c", _START, marker, verb, *units], timeout_s=90)
    if not result.ok:
        raise CommandError(result, next_step=f"on the node: journalctl -u {units[0]}")


def unit_file(description: str, command: Sequence[str], *, after: str, **service: str) -> RemoteFile:
    """Return a systemd unit that keeps `command` running from boot on.

    `%` and `$` of the command are taken literally, not as systemd's own.
    """
    words = [word.replace("%", "%%").replace("$", "$$") for word in command]
    exec_start = " \\\n  ".join(f'"{word}"' if " " in word else word for word in words)
    extra = "".join(f"{key}={value}\n" for key, value in service.items())
    return RemoteFile.text(
        f"[Unit]\nDescription={description}\nAfter={after}\nStartLimitIntervalSec=0\n\n"
        f"[Service]\nExecStart={exec_start}\nRestart=always\nRestartSec=1\n{extra}\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )
