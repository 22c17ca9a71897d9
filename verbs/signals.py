"""SIGINT and SIGTERM as one exception, with the exit code of the one that came first.

The first signal starts an orderly clean-up. A second one leaves at once: the undo
journal stays, and `gonogo sweep` finishes it.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop; `exit_code` is 130 or 143, used after clean-up."""

    def __init__(self, signum: int) -> None:
        self.exit_code = 128 + signum
        super().__init__(f"interrupted by {signal.Signals(signum).name}")


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into Interrupted, and let a second one leave at once."""
    received: list[int] = []

    def handle(signum: int, frame: FrameType | None) -> None:
        del frame
        received.append(signum)
        if len(received) == 1:
            raise Interrupted(signum)
        sys.stderr.write("\nsecond signal: leaving now; `gonogo sweep` finishes the clean-up\n")
        sys.stderr.flush()
        os._exit(128 + received[0])

    before = {sign: signal.signal(sign, handle) for sign in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
