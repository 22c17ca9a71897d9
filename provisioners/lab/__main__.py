"""Drive the lab without the launcher: `python -m provisioners.lab up|status|down`."""

from __future__ import annotations

import sys
import threading
import time

from provisioners.errors import ProvisionError
from provisioners.lab.lab import Lab


class PlainProgress:
    """One line a step's start and end on stderr, and at most one note a second in between."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._noted: dict[str, float] = {}

    def started(self, name: str) -> None:
        """Say nothing: a step that is done ends at once."""

    def note(self, name: str, text: str) -> None:
        """Print a note, unless the step printed one within the last seconds."""
        now = time.monotonic()
        if now - self._noted.get(name, 0) > 2:  # noqa: PLR2004  seconds
            self._noted[name] = now
            self._print(f"     {name}: {text}")

    def finished(self, name: str, seconds: float, cached: bool) -> None:
        """Print how long the step took."""
        self._print(f"done {name} ({'cached' if cached else f'{seconds:.1f} s'})")

    def failed(self, name: str, text: str) -> None:
        """Print that the step failed; the error itself is printed once, at the end."""
        self._print(f"FAIL {name}: {text.splitlines()[0]}")

    def _print(self, text: str) -> None:
        with self._lock:
            print(text, file=sys.stderr, flush=True)  # noqa: T201  this is its only output


def main(argv: list[str]) -> int:
    """Run one verb and return its exit code."""
    if argv not in (["up"], ["status"], ["down"]):
        print(__doc__, file=sys.stderr)  # noqa: T201
        return 2
    progress = PlainProgress()
    try:
        if argv == ["up"]:
            Lab().up(progress)
        elif argv == ["down"]:
            Lab.current().down(lambda text: progress.note("down", text))
        else:
            print(Lab.current().status())  # noqa: T201
    except ProvisionError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
