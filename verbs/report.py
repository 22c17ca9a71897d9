"""`gonogo report`, `verify` and `diff`: everything that reads a run folder, offline."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def report_command(run_dir: Path) -> int:
    """Render the report again from the run folder; returns the verdict's exit code."""
    from reports.render import render_all
    from reports.store import open_run

    store = open_run(run_dir)
    verdict = render_all(store)
    if store.read_manifest():
        store.reseal_rendered()  # an edit of any other file stays visible to `verify`
    else:
        store.seal()
    sys.stderr.write(f"{verdict.headline}\n")
    sys.stdout.write(f"{store.path / 'report.html'}\n")
    return verdict.exit_code


def verify_command(run_dir: Path) -> int:
    """Recompute hashes and verdict; returns 0 when all agree, 3 otherwise."""
    from reports.verify import verify

    problems = verify(run_dir)
    for problem in problems:
        sys.stdout.write(f"{problem}\n")
    if problems:
        sys.stderr.write(f"{run_dir}: {len(problems)} problem(s); do not rely on this run\n")
        return 3
    sys.stderr.write(f"{run_dir}: every file and the verdict agree with what was recorded\n")
    return 0


def diff_command(before: Path, after: Path, *, json_output: bool) -> int:
    """Print what changed between two runs; returns 0."""
    from reports.diff import diff

    changes = diff(before, after)
    if json_output:
        json.dump(asdict(changes), sys.stdout, indent=1, default=str)
        sys.stdout.write("\n")
    else:
        sys.stdout.write(f"{changes}\n")
    return 0
