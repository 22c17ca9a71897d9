"""Wait for something to be seen, with a bound, saying what is waited for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from provisioners.errors import NotReady

if TYPE_CHECKING:
    from collections.abc import Callable


def wait_until(
    what: str,
    missing: Callable[[], str],
    say: Callable[[str], None],
    *,
    bound_s: float,
    every_s: float = 0.5,
    where: str = "",
    next_step: str = "",
) -> float:
    """Ask `missing` until it answers "" (nothing is missing); return the seconds that took.

    What it answers is shown through `say`, which may raise to end the wait. Raises NotReady,
    with the last answer, when `bound_s` seconds have passed.
    """
    began = time.monotonic()
    while True:
        lacking = missing()
        waited_s = time.monotonic() - began
        if not lacking:
            return waited_s
        if waited_s > bound_s:
            raise NotReady(
                f"{what}: not seen within {bound_s:.0f} s", where=where, why=lacking, next_step=next_step
            )
        say(f"{what}: {lacking}")
        time.sleep(every_s)
