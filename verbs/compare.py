"""`gonogo compare`: is B no slower than A? Two URLs, paired load, the same judgement as a run's.

Nothing is deployed and nothing is kept: both sides are asked once, loaded with the same
requests in drawn order, and judged by `reports.compare`. JSON goes to stdout, a table to
stderr. Exit codes: 0 GO, 1 NO-GO, 3 INCONCLUSIVE or INVALID, 2 for input, 4 for a URL
that may not be loaded or does not answer as asked.
"""

from __future__ import annotations

import json
import math
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from provisioners.errors import InputError
from reports.model import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loadtests.profile import LoadProfile, LoadTargets
    from loadtests.run import LoadRun
    from loadtests.summary import LoadSummary
    from reports.comparison import Comparison, Conditions, Rules

DEFAULT_MARGIN = "10%,1ms"
SIDES = ("a", "b")
QUANTILES = (0.5, 0.95)
_MOST_RATE = 100_000.0
_MOST_S = 86_400.0
_LONGEST_WARMUP_S = 3.0
_WHOLE = 100.0
_STEP_S = 0.5
_RUN_SIDES = ("swarm", "kubernetes")
_MOST_EXAMPLES = 5
_LONGEST_DETAIL = 200
_PART = re.compile(r"^([0-9.eE+-]+|nan|inf|-inf)\s*(%|ms)?$", re.IGNORECASE)
_EXIT = {Status.PASS: 0, Status.FAIL: 1}


@dataclass(frozen=True, slots=True)
class Margin:
    """What B may be slower by: the larger of a share and a number of ms; either may be 0."""

    share: float
    floor_ms: float


@dataclass(frozen=True, slots=True)
class Ask:
    """One comparison as asked for; `rate_per_s` is the total of both sides."""

    a: str
    b: str
    tool: str
    rate_per_s: float
    duration_s: float
    margin: Margin
    allowed: tuple[str, ...]

    @property
    def workload(self) -> str:
        """What the load is called in the result."""
        return f"tools/call {self.tool}" if self.tool else "GET"


def compare_command(
    a: str,
    b: str,
    *,
    tool: str,
    rate: float,
    duration: float,
    margin: str,
    allow_hosts: Sequence[str],
    inventory: Path | None = None,
    json_output: bool,
) -> int:
    """Compare both URLs; returns the exit code of the outcome."""
    from loadtests.addresses import check_addresses
    from verbs.compare_ask import ask_once
    from verbs.compare_show import result_json, show
    from verbs.screen import Screen
    from verbs.signals import interruptible

    ask = Ask(
        a, b, tool, _rate(rate), _duration(duration), parse_margin(margin), _allowed(allow_hosts, inventory)
    )
    profile, targets = load_of(ask)
    check_addresses(targets)
    screen = Screen()
    try:
        with interruptible():
            with screen.step("ask both once"):
                for side, url in zip(SIDES, (a, b), strict=True):
                    ask_once(side, url, tool)
            with screen.step("load") as say:
                comparison, tails = measure(ask, profile, targets, lambda text: say(_by_side(text)))
    finally:
        screen.close()
    show(comparison, tails)
    if json_output:
        sys.stdout.write(json.dumps(result_json(comparison), indent=1) + "\n")
    return _EXIT.get(comparison.outcome, 3)


# -- what was asked ----------------------------------------------------------------------


def parse_margin(text: str) -> Margin:
    """Return a margin such as `10%`, `1ms` or `10%,1ms` (the larger of both).

    Raises:
        InputError: no unit, no number, negative, zero, or over 100 %.
    """
    share = floor_ms = 0.0
    for part in text.split(","):
        match = _PART.match(part.strip())
        value = _number(match[1]) if match else math.nan
        if match is None or not math.isfinite(value):
            raise _bad("--margin", text, "it is not a number with a unit", "write 10% or 1ms")
        if not match[2]:
            raise _bad("--margin", text, "it has no unit", f"write {match[1]}% or {match[1]}ms")
        if value <= 0.0:
            raise _bad("--margin", text, "no run can show a margin of 0 or less", "write 2% or more")
        if match[2] == "%" and value > _WHOLE:
            raise _bad("--margin", text, "it is over 100 %", "write a share such as 10%")
        if match[2] == "%":
            share = max(share, value / _WHOLE)
        else:
            floor_ms = max(floor_ms, value)
    return Margin(share, floor_ms)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _rate(value: float) -> float:
    if not math.isfinite(value) or value <= 0.0 or value > _MOST_RATE:
        why = "the total rate of both sides is a number of requests a second above 0"
        raise _bad("--rate", f"{value:g}", why, f"choose one up to {_MOST_RATE:,.0f}, such as 200")
    return value


def _duration(value: float) -> float:
    if not math.isfinite(value) or value < 1.0 or value > _MOST_S:
        raise _bad(
            "--duration", f"{value:g}", "it is a number of seconds from 1 to a day", "choose one such as 60"
        )
    return value


def _bad(option: str, text: str, why: str, next_step: str) -> InputError:
    return InputError(f"{option} {text!r} cannot be used", why=why, next_step=next_step)


def _allowed(hosts: Sequence[str], inventory: Path | None) -> tuple[str, ...]:
    """Return what may be loaded besides loopback: named hosts, the lab that is up, the inventory's."""
    from provisioners.inventory import read_inventory
    from provisioners.lab.paths import lab_dir

    empty = [host for host in hosts if not host.strip() or "/" in host]
    if empty:
        raise _bad(
            "--allow-host", empty[0], "it names one host, no URL and no network", "write the host alone"
        )
    files = [lab_dir() / "inventory.yaml"]
    if not files[0].exists():
        files = []
    files += [inventory] if inventory else []
    return (*hosts, *(node.address for file in files for node in read_inventory(file)))


def load_of(ask: Ask) -> tuple[LoadProfile, LoadTargets]:
    """Return the load and the one server that both URLs are, in the words of the generator."""
    from loadtests.profile import HEALTH, TOOLS_CALL, LoadProfile, LoadTargets, Server

    sides = [_split(name, url) for name, url in zip(SIDES, (ask.a, ask.b), strict=True)]
    paths = {path_of(side, ask.tool) for side in sides}
    if len(paths) > 1:
        raise InputError(
            "both URLs need the same path",
            why=" and ".join(sorted(paths)) + " are different requests, so they cannot be paired",
            next_step="give the same path and query on both sides",
        )
    path = paths.pop()
    a_url, b_url = (f"{side.scheme}://{side.netloc}" for side in sides)
    server = Server(
        "server",
        a_url,
        b_url,
        tool=ask.tool or "describe",
        health_path=path,
        mcp_path=path if ask.tool else "/mcp",
    )
    profile = LoadProfile(
        name="compare",
        rate_per_s=ask.rate_per_s,
        duration_s=ask.duration_s,
        warmup_s=min(_LONGEST_WARMUP_S, ask.duration_s / 4),
        workloads=((TOOLS_CALL if ask.tool else HEALTH, 1),),
        quantiles=QUANTILES,
    )
    return profile, LoadTargets((server,), ask.allowed)


def _split(side: str, url: str) -> SplitResult:
    from loadtests.addresses import host_of

    host_of(url)  # raises for what is no http(s) URL
    if any(letter.isspace() or ord(letter) < ord(" ") for letter in url):
        raise InputError(f"the URL of {side} holds a space", why=repr(url), next_step="write %20 for it")
    return urlsplit(url)


def path_of(url: SplitResult, tool: str) -> str:
    """Return the path and query that is asked for: an MCP server without a path has /mcp."""
    path = url.path if url.path not in ("", "/") or not tool else "/mcp"
    return (path or "/") + (f"?{url.query}" if url.query else "")


# -- measuring and judging ---------------------------------------------------------------


def measure(
    ask: Ask, profile: LoadProfile, targets: LoadTargets, say: Callable[[str], None]
) -> tuple[Comparison, list[str]]:
    """Send the load and judge it; a load that failed gives a comparison that is INVALID.

    The lines beside it are for people: the p99 of both sides, which decides nothing, and first errors.
    """
    with tempfile.TemporaryDirectory(prefix="gonogo-compare-") as folder:
        before = time.time() - time.monotonic()
        run = _load(profile, targets, Path(folder), say)
        step_s = time.time() - time.monotonic() - before
        clock = (f"the clock was set by {step_s:+.1f} s while load ran",) if abs(step_s) > _STEP_S else ()
        return _judge(ask, run, clock)


def _load(profile: LoadProfile, targets: LoadTargets, folder: Path, say: Callable[[str], None]) -> LoadRun:
    """Send the load: the one place that knows how."""
    from loadtests.run import run_load

    return run_load(profile, targets, folder, say=say)


def _judge(ask: Ask, run: LoadRun, clock: tuple[str, ...]) -> tuple[Comparison, list[str]]:
    from loadtests.summarize import summarize
    from reports.compare import compare
    from reports.comparison import Conditions
    from reports.model import Window

    rules = rules_of(ask)
    broken = () if run.complete else (" ".join(run.reason.split()),)
    if not run.requests:
        made = Conditions(ask.rate_per_s, 0.0, clock=clock, broken=broken or ("no request was sent",))
        return compare((), {}, rules, made), []
    summary = summarize(run.folder)
    windows = [
        Window(**{**row, "name": ask.workload}) for row in summary.window_rows() if "@" not in row["name"]
    ]
    found = compare(windows, summary.counts(), rules, _conditions(summary, broken, clock))
    return found, _beside(summary)


def _beside(summary: LoadSummary) -> list[str]:
    lines = [
        f"{SIDES[_RUN_SIDES.index(row.side)]}: p99 {row.p99_ms:.3g} ms of {row.n} served"
        for row in summary.latencies
        if not row.server and row.p99_ms is not None
    ]
    return lines + [
        f"first {one.kind} error of {SIDES[_RUN_SIDES.index(one.side)]}: {one.detail[:_LONGEST_DETAIL]}"
        for one in summary.examples[:_MOST_EXAMPLES]
    ]


def _by_side(text: str) -> str:
    """Return a note of the load in the words of this verb."""
    for side, ours in zip(_RUN_SIDES, SIDES, strict=True):
        text = re.sub(rf"\b{side}\b", ours, text)
    return text


def rules_of(ask: Ask) -> Rules:
    """Return the rules of this comparison, which are those of a run but for the margin."""
    from reports.comparison import Rules

    return Rules(
        margin_ratio=ask.margin.share,
        margin_floor_ms=ask.margin.floor_ms,
        workloads=(ask.workload,),
        sides=SIDES,
    )


def _conditions(summary: LoadSummary, broken: tuple[str, ...], clock: tuple[str, ...]) -> Conditions:
    from reports.comparison import Conditions
    from verbs.traffic import generator_of

    return Conditions(
        rate_total=summary.rate_per_s,
        duration_s=summary.measured_s,
        generator=generator_of(summary),
        clock=clock,
        broken=broken,
    )
