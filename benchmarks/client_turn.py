"""One turn of the load client as a process: as fast as it goes, or a plan at usual priority."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

_CONNECTIONS = 32


def closed(url: str, seconds: float, ca_file: Path | None) -> int:
    """Load a URL as fast as 32 connections go; print how many requests were served."""
    from loadtests.closed_loop import run_closed_loop
    from loadtests.endpoint import make_endpoints
    from loadtests.profile import HEALTH, Server

    scheme, _, rest = url.partition("://")
    base, _, path = rest.partition("/")
    server = Server("server", f"{scheme}://{base}", f"{scheme}://{base}", health_path=f"/{path}")
    endpoint = make_endpoints([server], [HEALTH], ca_file)[0]
    with tempfile.TemporaryDirectory() as folder:
        end = run_closed_loop(endpoint, HEALTH, Path(folder), connections=_CONNECTIONS, duration_s=seconds)
        failed = _failed(Path(folder))
    print("failed", failed, "requests", end.requests - failed)
    return 0


def plain(folder: str) -> int:
    """Run a plan as the client does, but with no CPU and no priority of its own."""
    from unittest import mock

    from loadtests.client import main as client

    with mock.patch("loadtests.client.claim_cpu"):
        return client([folder])


def _failed(folder: Path) -> int:
    """Return the errors of both sides at the last reading of a run."""
    for line in reversed((folder / "generator.jsonl").read_text(encoding="utf-8").splitlines()):
        row = json.loads(line)
        if "errors" in row:
            return sum(int(count) for count in row["errors"].values())
    return 0


def main(argv: list[str]) -> int:
    """Be the process that is measured."""
    parser = argparse.ArgumentParser(prog="client_turn")
    parser.add_argument("--url", default="")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--ca-file", type=Path, default=None)
    parser.add_argument("--plan", default="")
    options = parser.parse_args(argv)
    return plain(options.plan) if options.plan else closed(options.url, options.seconds, options.ca_file)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
