"""Locust plug-in: every request of any locustfile, exactly, into a run folder.

    locust -f loadtests/exact.py,mine.py --host http://127.0.0.1:9006 --exact-folder runs/mine
    or in the locustfile itself:    import loadtests.exact

Locust keeps counts in buckets of two figures; this keeps each request, from workers too,
and says whether the load was closed or open. In a closed loop a user waits for its
answer, so a server that stands still is asked less, and its worst moments are missing:
such numbers are shown with that label, and no verdict hangs on them. `ArrivalUser`
makes an open loop of ordinary tasks.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != _HERE]
sys.path[:0] = [str(_HERE.parent)] * 2  # see paired.py

import gevent  # noqa: E402
from locust import events  # noqa: E402
from locust.runners import MasterRunner, WorkerRunner  # noqa: E402

from loadtests.addresses import check_urls  # noqa: E402
from loadtests.arrivals import ArrivalUser  # noqa: E402
from loadtests.errors import LoadError, LoadInputError, LoadRefused  # noqa: E402
from loadtests.exact_log import CLOSED, OPEN, ExactLog, MergedExactLog, Observed, ShippedExactLog  # noqa: E402
from loadtests.host import parse_cpus  # noqa: E402

ROWS, END = "gonogo_exact", "gonogo_exact_end"
_END_BOUND_S = 5.0
_TICK_S = 0.5
_WAIT_S = 0.02
_OK = 200
_logger = logging.getLogger("gonogo.load")


class _State:
    """What this process records; a web page may start several tests in turn."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.allowed: tuple[str, ...] = ()
        self.warmup_s = 0.0
        self.log: ExactLog | ShippedExactLog | None = None
        self.merged: MergedExactLog | None = None
        self.ticker: gevent.Greenlet | None = None
        self.refused: set[str] = set()
        self.checked: set[str] = set()
        self.loop = CLOSED


_state = _State()


def _options(parser: Any) -> None:
    group = parser.add_argument_group("Exact samples")
    group.add_argument(
        "--exact-folder", env_var="GONOGO_EXACT_FOLDER", default="", help="Folder of the exact samples."
    )
    group.add_argument(
        "--exact-warmup", env_var="GONOGO_EXACT_WARMUP", type=float, default=0.0, help="Seconds not judged."
    )
    group.add_argument(
        "--exact-allow", env_var="GONOGO_EXACT_ALLOW", default="", help="Hosts besides loopback, by comma."
    )
    group.add_argument("--exact-cpus", env_var="GONOGO_EXACT_CPUS", default="", help="CPUs of the senders.")


def _init(environment: Any, **_: Any) -> None:
    options = environment.parsed_options
    _state.allowed = tuple(entry.strip() for entry in options.exact_allow.split(",") if entry.strip())
    _state.warmup_s = options.exact_warmup
    classes = environment.user_classes
    _state.loop = OPEN if classes and all(issubclass(one, ArrivalUser) for one in classes) else CLOSED
    try:
        if not 0 <= _state.warmup_s < float("inf"):
            raise LoadInputError(f"load: --exact-warmup is {_state.warmup_s}, it must be 0 or more seconds")
        hosts = {environment.host} if environment.host else {one.host for one in classes}
        check_urls([host for host in hosts if host], _state.allowed)
        if options.exact_cpus and not isinstance(environment.runner, MasterRunner):
            os.sched_setaffinity(0, parse_cpus(options.exact_cpus))
        if isinstance(environment.runner, WorkerRunner):
            environment.runner.register_message(END, _end_of_worker)
            return
        _state.folder = Path(options.exact_folder or tempfile.mkdtemp(prefix="gonogo-exact-")).absolute()
        _state.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _logger.info("exact samples (%s loop) go to %s", _state.loop, _state.folder)
    except (LoadError, OSError) as error:
        _logger.error("%s", error)  # noqa: TRY400  the message is whole
        environment.process_exit_code = getattr(error, "exit_code", 2)
        # Locust has no door to refuse a start from here; nothing was sent yet.
        logging.shutdown()
        os._exit(environment.process_exit_code)
    if isinstance(environment.runner, MasterRunner):
        environment.runner.register_message(ROWS, _take)


def _end_of_worker(**_: Any) -> None:
    """Close a worker's log when the master says so: Locust itself tells it only after its own end."""
    if _state.log is not None:
        _state.log.close()


def _test_start(environment: Any, **_: Any) -> None:
    runner = environment.runner
    if isinstance(runner, WorkerRunner):
        _state.log = ShippedExactLog(lambda fields: runner.send_message(ROWS, fields), _state.warmup_s)
    elif isinstance(runner, MasterRunner) and _state.folder is not None:
        names = sorted(client.id for client in runner.clients.ready)
        _state.merged = MergedExactLog(_state.folder, _state.loop, names)
        _state.ticker = gevent.spawn(_watch_workers, runner)
        return
    elif _state.folder is not None:
        _state.log = ExactLog(_state.folder, _state.loop, _state.warmup_s)
        gevent.signal_handler(signal.SIGTERM, runner.quit)
    _state.ticker = gevent.spawn(_tick)


def _request(**fields: Any) -> None:
    """Record one request; it has just ended, so its end is now and its start follows from its length."""
    log, context = _state.log, fields.get("context") or {}
    if log is None or "gonogo" in context:  # a planned run keeps its own log
        return
    done_ns = time.monotonic_ns()
    took_ns = round((fields["response_time"] or 0.0) * 1e6)
    response, url = fields.get("response"), str(fields.get("url") or "")
    exception = fields.get("exception")
    status = getattr(response, "status_code", 0) or 0
    log.observe(
        Observed(
            method=str(fields["request_type"]),
            name=str(fields["name"]),
            planned_ns=context.get("planned_ns") or done_ns - took_ns,
            sent_ns=done_ns - took_ns,
            done_ns=done_ns,
            size_bytes=int(fields.get("response_length") or 0),
            status=int(status),
            failure="" if exception is None else f"{type(exception).__name__}: {exception}",
            planned="planned_ns" in context,
        )
    )
    _check_url(url)


def _check_url(url: str) -> None:
    """End the test at the first request to an address that nobody allowed."""
    origin = "/".join(url.split("/", 3)[:3])
    if not origin or "://" not in origin or origin in _state.checked:
        return
    _state.checked.add(origin)
    try:
        check_urls([origin], _state.allowed)
    except (LoadRefused, LoadInputError) as error:
        _logger.error("%s", error)  # noqa: TRY400  the message is whole
        if _state.log is not None:
            _state.log.fail(f"a request went to {origin}, which nobody allowed")
        logging.shutdown()
        os._exit(4)


def _tick() -> None:
    while _state.log is not None:
        _state.log.tick()
        gevent.sleep(_TICK_S)


def _watch_workers(runner: Any) -> None:
    """Note the workers that are gone, and end the test: what the rest sends is another load."""
    while _state.merged is not None:
        for name in list(_state.merged.open):
            client = runner.clients.get(name)
            if client is None or client.state == "missing":
                _state.merged.lose(name, "lost")
                gevent.spawn(runner.quit)
                return
        gevent.sleep(_TICK_S)


def _take(msg: Any, **_: Any) -> None:
    if _state.merged is not None:
        _state.merged.take(msg.node_id, msg.data)


def _test_stop(environment: Any, **_: Any) -> None:
    if _state.log is not None:
        _state.log.close()
        _state.log = None
    merged = _state.merged
    if merged is None:
        return
    for name in merged.open:
        environment.runner.send_message(END, client_id=name)
    with gevent.Timeout(_END_BOUND_S, exception=False):
        while merged.open:
            gevent.sleep(_WAIT_S)
    _close_merged()


def _close_merged(**_: Any) -> None:
    if _state.merged is not None:
        _state.merged.close()
        _state.merged = None
    with contextlib.suppress(Exception):
        if _state.ticker is not None:
            _state.ticker.kill(block=False)


for _hook, _listener in (
    (events.init_command_line_parser, _options),
    (events.init, _init),
    (events.test_start, _test_start),
    (events.request, _request),
    (events.test_stop, _test_stop),
    (events.quit, _close_merged),
):
    _hook.add_listener(_listener)  # type: ignore[no-untyped-call]  # Locust's hooks are untyped
