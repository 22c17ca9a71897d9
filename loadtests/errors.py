"""Errors of the load generator, and the exit code each one means.

LoadError                      6  gonogo itself failed
├── LoadInputError             2  a rate, a duration or a target cannot be used
└── LoadRefused                4  a target lies outside loopback and the allowed addresses

A load that failed while it ran is data (`LoadRun.complete` is False), never one of these.
"""

from __future__ import annotations

from typing import ClassVar


class LoadError(Exception):
    """The load could not be started as asked."""

    exit_code: ClassVar[int] = 6


class LoadInputError(LoadError):
    """A rate, a duration, a workload or a URL cannot be used."""

    exit_code = 2


class LoadRefused(LoadError):
    """Load was asked for against an address that nobody allowed."""

    exit_code = 4
