"""Every error a provisioner raises, and the exit code each one means.

ProvisionError                 6  gonogo itself failed
├── InputError                 2  config, inventory or compose file cannot be used
├── TargetRefused              4  preflight, identity or permission says no
├── NotReady                   3  a bounded wait ended before what it waited for
└── CleanupIncomplete          5  something that gonogo made is still there

A message says what, where and why; `next_step` says what an operator does now.
"""

from __future__ import annotations

from typing import ClassVar


class ProvisionError(Exception):
    """Something failed while standing up, reading or removing a target."""

    exit_code: ClassVar[int] = 6

    def __init__(self, what: str, *, where: str = "", why: str = "", next_step: str = "") -> None:
        self.what = what
        self.where = where
        self.why = why
        self.next_step = next_step
        super().__init__(self.render())

    def render(self) -> str:
        """Return the message as the lines that a terminal shows."""
        head = f"{self.where}: {self.what}" if self.where else self.what
        lines = [head]
        if self.why:
            lines.append(f"  why:  {self.why}")
        if self.next_step:
            lines.append(f"  next: {self.next_step}")
        return "\n".join(lines)


class InputError(ProvisionError):
    """A file or value that a user gave cannot be used."""

    exit_code = 2


class TargetRefused(ProvisionError):
    """The machine or the target does not allow what was asked."""

    exit_code = 4


class NotReady(ProvisionError):
    """A bounded wait ended before what it waited for was seen."""

    exit_code = 3


class CleanupIncomplete(ProvisionError):
    """Something that gonogo created could not be removed."""

    exit_code = 5
