"""The load client as a process of its own, without Locust or gevent.

    python -m loadtests.client --plan DIR [--allow HOST]... [--ca-file FILE]

reads DIR/plan.json, sends it (`open_loop`), and leaves in DIR, beside the plan:
requests.bin and timings.bin (a row a request, `sample`), generator.jsonl (readings, four a second,
`record`), histograms.bin (0.2 % buckets by second, side and workload, `buckets`) and client.json
(how it ended, a LoopEnd). SIGTERM and SIGINT end it in order. Exit codes: 0 the schedule was run
to its end, 2 and 4 as in `errors`, 3 it ended before.

`ClientProcess` starts one and hands its finished requests over in batches while it runs.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from loadtests.plan import SAMPLES_FILE, load_plan
from loadtests.sample import read_samples_from

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import numpy.typing as npt

    from loadtests.open_loop import OpenLoop

END_FILE = "client.json"
CLIENT_LOG_FILE = "client.log"
_ROOT = Path(__file__).resolve().parents[1]
_ENDED_EARLY = 3
_TERM_BOUND_S = 5.0


class ClientProcess:
    """A client that runs a plan folder in a process of its own; end it with `stop`, or use `with`.

    The parent may be doing anything meanwhile, gevent included: all it does here is wait for
    the process and read files that only grow.
    """

    def __init__(self, folder: Path, *, allowed: Sequence[str] = (), ca_file: Path | None = None) -> None:
        self.folder = folder
        self.command = client_command(folder, allowed, ca_file)
        self._read = 0
        path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
        with (folder / CLIENT_LOG_FILE).open("wb") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,  # Ctrl-C reaches the parent, which ends this in order
            )

    def batch(self) -> npt.NDArray[np.void]:
        """Return the requests that finished since the last call, as rows of sample.ROW_FIELDS."""
        rows = read_samples_from(self.folder / SAMPLES_FILE, self._read)
        self._read += len(rows)
        return rows

    def batches(self, every_s: float = 0.5) -> Iterator[npt.NDArray[np.void]]:
        """Yield batches that are not empty until the process has ended, the last rows included."""
        while True:
            ended = self.process.poll() is not None
            rows = self.batch()
            if len(rows):
                yield rows
            if ended:
                return
            time.sleep(every_s)

    def end(self) -> dict[str, Any]:
        """Return how the run ended, a LoopEnd as it stands in client.json; empty when it left none."""
        try:
            found = json.loads((self.folder / END_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def stop(self) -> None:
        """End it if it still runs: SIGTERM lets it close its log, SIGKILL if it does not in 5 s."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is not None:
                return
            self.process.send_signal(sign)
            try:
                self.process.wait(timeout=_TERM_BOUND_S)
            except subprocess.TimeoutExpired:
                continue

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def client_command(folder: Path, allowed: Sequence[str] = (), ca_file: Path | None = None) -> list[str]:
    """Return the command line, as a person could paste it."""
    more = [option for host in allowed for option in ("--allow", host)]
    more += ["--ca-file", str(ca_file)] if ca_file else []
    return [sys.executable, "-m", "loadtests.client", "--plan", str(folder), *more]


def main(argv: Sequence[str]) -> int:
    """Run a plan folder; see the module."""
    from loadtests.errors import LoadError

    parser = argparse.ArgumentParser(prog="python -m loadtests.client", description="Sends a load plan.")
    parser.add_argument("--plan", type=Path, required=True, help="folder with plan.json")
    parser.add_argument("--allow", action="append", default=[], help="host, address or network to allow")
    parser.add_argument("--ca-file", type=Path, default=None, help="CA certificates for https targets")
    options = parser.parse_args(argv)
    try:
        return _run(options.plan, tuple(options.allow), options.ca_file)
    except LoadError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code


def _run(folder: Path, allowed: tuple[str, ...], ca_file: Path | None) -> int:
    from loadtests.buckets import write_histograms
    from loadtests.open_loop import run_open_loop
    from loadtests.priority import claim_cpu
    from loadtests.profile import LoadTargets

    plan = load_plan(folder)
    (folder / END_FILE).unlink(missing_ok=True)

    def listen(loop: OpenLoop) -> None:
        for sign in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sign, lambda *_: loop.stop())

    claim_cpu(plan.cpus)
    end = run_open_loop(plan, LoadTargets(plan.servers, allowed), folder, ca_file=ca_file, on_start=listen)
    write_histograms(folder)
    (folder / END_FILE).write_text(json.dumps(asdict(end), indent=1) + "\n", encoding="utf-8")
    for note in end.notes:
        sys.stderr.write(f"note: {note}\n")
    return 0 if end.complete else _ENDED_EARLY


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
