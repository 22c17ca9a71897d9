"""`python -m benchmarks`: every benchmark beside its peers, one table against the goals.

    python -m benchmarks [--only NAME] [--quick] [--list]

A module of this folder takes part when it has `run(quick: bool) -> list[Row]`. A full
run writes docs/performance.md (and .json beside it, the same as data); `--only` writes
that part anew and leaves the others; `--quick` measures less and writes nothing.

Exit codes: 0 every module ran (a bar that is missed is a result, and printed), 1 with
`--strict` where a bar was missed, 2 usage, 6 a module failed.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import pkgutil
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.common import Row, ToolFailed, installed, machine
from benchmarks.table import Part, page, plain, read_parts, write_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_FOLDER = Path(__file__).resolve().parent
_DOCS = _FOLDER.parent / "docs"
_PEERS = ("nginx", "wrk", "hey", "wrk2")
_FAILED = 6


def modules() -> list[str]:
    """Return the names of the benchmark modules, by reading their text: nothing is imported."""
    names = [found.name for found in pkgutil.iter_modules([str(_FOLDER)])]
    return [name for name in names if "\ndef run(quick: bool" in (_FOLDER / f"{name}.py").read_text("utf-8")]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the modules that were asked for, one after the other."""
    names = modules()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", action="append", metavar="NAME", choices=names, help=", ".join(names))
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds; docs/performance.md is not written"
    )
    parser.add_argument("--list", action="store_true", help="the modules, and nothing else")
    parser.add_argument("--strict", action="store_true", help="exit status 1 where a bar was missed")
    options = parser.parse_args(argv)
    chosen = [name for name in names if not options.only or name in options.only]
    if options.list:
        print("\n".join(chosen))
        return 0
    where = machine()
    _say_missing_peers()
    parts: dict[str, Part] = {}
    failed: list[str] = []
    for name in chosen:
        print(f"{name} ...", file=sys.stderr, flush=True)
        begin = time.monotonic()
        try:
            rows = _runner(name)(options.quick)
        except Exception:  # noqa: BLE001  one module that fails does not stop the others
            traceback.print_exc()
            failed.append(name)
            continue
        seconds = time.monotonic() - begin
        parts[name] = Part(name, where.line(), seconds, tuple(rows))
        print(f"{name}: {len(rows)} rows in {seconds:.0f} s", file=sys.stderr, flush=True)
    rows = [row for name in sorted(parts) for row in parts[name].rows]
    print(plain(rows))
    print(where.line())
    if not options.quick and parts:
        _write(parts)
    return _code(rows, failed, strict=options.strict)


def _runner(name: str) -> Callable[[bool], list[Row]]:
    run: Callable[[bool], list[Row]] = importlib.import_module(f"benchmarks.{name}").run
    if list(inspect.signature(run).parameters) != ["quick"]:
        raise ToolFailed(f"benchmarks/{name}.py: run takes `quick` and nothing else")
    return run


def _say_missing_peers() -> None:
    missing = [name for name in _PEERS if installed(name) is None]
    if missing:
        print(f"peers not installed, and left out: {', '.join(missing)}", file=sys.stderr)
        print("  next: .ci/setup bench installs those that Debian has", file=sys.stderr)


def _write(parts: dict[str, Part]) -> None:
    data = _DOCS / "performance.json"
    every = {name: part for name, part in read_parts(data).items() if name in modules()} | parts
    write_parts(data, every)
    (_DOCS / "performance.md").write_text(page(every), encoding="utf-8")
    print("written: docs/performance.md, docs/performance.json", file=sys.stderr)


def _code(rows: Sequence[Row], failed: Sequence[str], *, strict: bool) -> int:
    missed = [row for row in rows if row.met is False]
    if missed:
        print(f"{len(missed)} bars missed: {', '.join(sorted({row.goal or row.what for row in missed}))}")
    if failed:
        print(f"benchmarks that failed: {', '.join(failed)}", file=sys.stderr)
        return _FAILED
    return 1 if strict and missed else 0


if __name__ == "__main__":
    sys.exit(main())
