"""The kernel timer that planned sends wait for: never early, replaceable, and clear where there is none."""

import select
import time

import pytest

from loadtests.errors import LoadError
from loadtests.timer import TimerFd


def test_it_is_never_early_and_wakes_an_edge_triggered_epoll_unread():
    timer, epoll = TimerFd(), select.epoll()
    epoll.register(timer.fd, select.EPOLLIN | select.EPOLLET)
    for wait_ns in (0, 300_000, 3_000_000, 300_000):
        at_ns = time.monotonic_ns() + wait_ns
        timer.arm(at_ns)
        assert epoll.poll(5) == [(timer.fd, select.EPOLLIN)]
        assert 0 <= time.monotonic_ns() - at_ns < 2_000_000_000
    timer.arm(0)
    assert epoll.poll(5), "a moment that has passed is at once"
    timer.arm(time.monotonic_ns() + 10_000_000_000)
    timer.arm(time.monotonic_ns() + 1_000_000)
    assert epoll.poll(5), "the later moment replaced the earlier one"
    assert not epoll.poll(0)
    timer.close()
    timer.close()
    assert timer.fd == -1
    with pytest.raises(OSError, match="timerfd_settime"):
        timer.arm(1)


def test_a_system_without_it_is_told_in_words(monkeypatch):
    monkeypatch.setattr("loadtests.timer.sys.platform", "other")
    with pytest.raises(LoadError, match="timerfd"):
        TimerFd()
