"""A wait until a moment, to tens of microseconds, that lets other greenlets run.

gevent's own timers end on whole milliseconds of epoll, late by half of one on average;
a timerfd wakes the same epoll exactly. Python has it from 3.13 on, before that it is
called through ctypes. Where there is none, gevent's timer is used and lateness shows it.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time

_CLOCK_MONOTONIC = 1
_NONBLOCK_CLOEXEC = 0o4000 | 0o2000000
_ABSOLUTE = 1
_READABLE = 1


class _Timespec(ctypes.Structure):
    _fields_ = (("sec", ctypes.c_long), ("nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class PlannedTimer:
    """One timer for one waiter at a time; times are CLOCK_MONOTONIC nanoseconds."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
        self._fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC) if self._libc else -1

    @property
    def exact(self) -> bool:
        """Whether the kernel's timer is used."""
        return self._fd >= 0

    def wait_until(self, at_ns: int) -> None:
        """Return at `at_ns`, or at once when it has passed."""
        import gevent

        left_ns = at_ns - time.monotonic_ns()
        if left_ns <= 0:
            return
        if not self.exact:
            gevent.sleep(left_ns / 1e9)
            return
        spin=int(os.environ.get("SPIN","0"))
        if left_ns > spin:
            self._arm(at_ns - spin)
            hub = gevent.get_hub()
            hub.wait(hub.loop.io(self._fd, _READABLE))
            os.read(self._fd, 8)
        while time.monotonic_ns() < at_ns:
            gevent.sleep(0)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _arm(self, at_ns: int) -> None:
        spec = _Itimerspec(_Timespec(0, 0), _Timespec(at_ns // 10**9, at_ns % 10**9))
        if self._libc is None or self._libc.timerfd_settime(self._fd, _ABSOLUTE, ctypes.byref(spec), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime failed")
