"""Which Linux capabilities this machine can give to a node host."""

from __future__ import annotations

import functools
from pathlib import Path

# Every capability, by bit, under the name that Docker uses; later ones are unknown to Docker 20.10.
_NAMES = (
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
)


@functools.cache
def bounding_set() -> int:
    """Return the capabilities that this process may ever hold, as a bit mask."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("CapBnd:"):
            return int(line.split()[1], 16)
    return 0


def allowed_capabilities(mask: int | None = None) -> tuple[str, ...]:
    """Return the names of the capabilities in `mask` (this process's own if None)."""
    held = bounding_set() if mask is None else mask
    return tuple(name for bit, name in enumerate(_NAMES) if held >> bit & 1)


def may_be_privileged() -> bool:
    """Return whether a privileged container can start: only where no capability is missing."""
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text(encoding="ascii"))
    whole = (1 << (last + 1)) - 1
    return bounding_set() & whole == whole
