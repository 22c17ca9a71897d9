"""How late a change of state is seen: gonogo's watch, the official client's, and asking again and again.

A pod of a real API server on loopback is changed many times, at drawn moments. A change has
happened when the server answers its writer; lag runs from then to the moment in which the
observer holds the changed object (0 if that is earlier). The time from the sending of the
change, in which the server's own write is, stands in the notes. Observers take turns.

    python -m benchmarks --only watch_lag
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from typing import TYPE_CHECKING, Any

from benchmarks.api_server import api_server
from benchmarks.common import Bar, Rounds, Row, ToolFailed, not_measured, paired_rounds
from benchmarks.pods_input import NAMESPACE, PODS, plan, write_pods
from provisioners.kube import Kube
from provisioners.kube_watch import Followed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from provisioners.kube import Object

CHANGES, QUICK_CHANGES = 500, 100
OURS, OFFICIAL, FINE, COARSE = "gonogo", "kubernetes Watch", "asking every 0.2 s", "asking every 1 s"
_INTERVALS = {FINE: 0.2, COARSE: 1.0}
_PODS = 20
_MARK = "gonogo.dev/change"
_PAUSES_S = (0.01, 0.05)
_LAST_S = 5.0  # how long the last change may take to be seen
_ROUNDS, _QUICK_ROUNDS = 3, 1
_P99, _SOONER = Bar("<=", 20.0), Bar(">=", 25.0)


def run(quick: bool) -> list[Row]:
    """Return the p99 of each observer, ours against the bar, and how much sooner it is than asking."""
    changes = QUICK_CHANGES if quick else CHANGES
    try:
        with api_server() as kubeconfig:
            write_pods(Kube(kubeconfig), plan(_PODS))
            trial = Trial(kubeconfig, changes)
            names = (OURS, OFFICIAL, FINE, COARSE)
            tools = {name: trial.tool(name) for name in names}
            found = paired_rounds(tools, _QUICK_ROUNDS if quick else _ROUNDS)
    except ToolFailed as why:
        return [not_measured("G13", "a change is seen, p99", "ms", str(why), bar=_P99)]
    return _rows(found, trial)


def _rows(found: Rounds, trial: Trial) -> list[Row]:
    what = f"a change is seen after it happened, p99 of {trial.changes}"
    rows = [found.of(OURS).row("G13", what, "ms", bar=_P99, note=trial.note(OURS))]
    rows.append(found.ratio(COARSE, OURS).row("G13", "sooner than asking", peer=COARSE, bar=_SOONER))
    rows += [found.ratio(peer, OURS).row("G13", "sooner than it", peer=peer) for peer in (FINE, OFFICIAL)]
    others = (OFFICIAL, FINE, COARSE)
    return rows + [
        found.of(name).row("", f"{name}: {what}", "ms", note=f"{found.note} {trial.note(name)}".strip())
        for name in others
    ]


class Sightings:
    """When each numbered change was sent, answered and first seen; any thread."""

    def __init__(self) -> None:
        self.sent: dict[int, float] = {}
        self.answered: dict[int, float] = {}
        self.seen: dict[int, float] = {}
        self._newest = 0
        self._lock = threading.Lock()

    def look(self, number: int) -> None:
        """Note that the object is as change `number` left it: earlier ones are seen as well."""
        now = time.perf_counter()
        with self._lock:
            for one in range(self._newest + 1, number + 1):
                self.seen[one] = now
            self._newest = max(self._newest, number)

    def lags_ms(self) -> list[float]:
        """Return from answered to seen, sorted; raises ToolFailed where a change was never seen."""
        missed = self.sent.keys() - self.seen.keys()
        if missed or not self.sent:
            raise ToolFailed(f"{len(missed)} of {len(self.sent)} changes were never seen")
        return sorted(max(0.0, 1e3 * (self.seen[one] - answered)) for one, answered in self.answered.items())

    def since_sent_ms(self) -> list[float]:
        """Return from sent to seen, sorted."""
        return sorted(1e3 * (self.seen[one] - sent) for one, sent in self.sent.items())


class Trial:
    """The server, and one observer at a time."""

    def __init__(self, kubeconfig: Path, changes: int) -> None:
        self.kubeconfig = kubeconfig
        self.changes = changes
        self.since_sent: dict[str, float] = {}
        self.median: dict[str, float] = {}
        self._turn = 0

    def tool(self, name: str) -> Callable[[], float]:
        """Return what measures one observer and returns its p99 in ms."""
        return lambda: self.measure(name)

    def note(self, name: str) -> str:
        """Return the other numbers of the observer's last round."""
        return f"p50 {self.median[name]:.1f} ms; since it was sent: p99 {self.since_sent[name]:.1f} ms"

    def measure(self, name: str) -> float:
        """Change the pod again and again while the observer looks."""
        sightings = Sightings()
        self._turn += 1
        pod = f"server-00-7d9f8c6b5-{0:05d}"
        label = f"turn-{self._turn}"
        with self._observer(name, pod, label, sightings):
            self._write(pod, label, sightings)
            deadline = time.monotonic() + _LAST_S
            while len(sightings.seen) < self.changes and time.monotonic() < deadline:
                time.sleep(0.01)
        lags = sightings.lags_ms()
        self.median[name] = quantile(lags, 0.5)
        self.since_sent[name] = quantile(sightings.since_sent_ms(), 0.99)
        return quantile(lags, 0.99)

    def _write(self, pod: str, label: str, sightings: Sightings) -> None:
        kube, draw = Kube(self.kubeconfig), random.Random(self._turn)
        kube.get("/version")
        for number in range(1, self.changes + 1):
            time.sleep(draw.uniform(*_PAUSES_S))
            body = {"metadata": {"annotations": {_MARK: f"{label}:{number}"}}}
            sightings.sent[number] = time.perf_counter()
            kube.patch(f"{PODS}/{pod}", body)
            sightings.answered[number] = time.perf_counter()

    def _observer(
        self, name: str, pod: str, label: str, sightings: Sightings
    ) -> AbstractContextManager[None]:
        if name == OURS:
            return _gonogo(Kube(self.kubeconfig), pod, label, sightings)
        if name == OFFICIAL:
            return _official(self.kubeconfig, pod, label, sightings)
        return _asking(Kube(self.kubeconfig), pod, label, sightings, _INTERVALS[name])


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest of the sorted values that at least `share` of them do not exceed."""
    return values[min(len(values) - 1, max(0, -int(-share * len(values) // 1) - 1))]


@contextlib.contextmanager
def _gonogo(kube: Kube, pod: str, label: str, sightings: Sightings) -> Iterator[None]:
    """The product's path: a Followed collection, whose waiter wakes and reads what it holds."""
    ended = threading.Event()
    with Followed(kube, PODS, fields=f"metadata.name={pod}", bound_s=600) as followed:

        def look() -> None:
            count = 0
            while not ended.is_set():
                count = followed.wait(0.5, after=count)
                for row in followed.rows():
                    sightings.look(_number(row, label))

        with _thread(look, ended):
            if not followed.until(bool, _LAST_S):
                raise ToolFailed("the watch did not begin")
            yield


@contextlib.contextmanager
def _official(kubeconfig: Path, pod: str, label: str, sightings: Sightings) -> Iterator[None]:
    import urllib3
    from kubernetes import client, config, watch

    load: Any = config.new_client_from_config  # the client has no types
    core: Any = client.CoreV1Api(load(str(kubeconfig)))
    kind: Any = watch.Watch
    stream = kind()
    began, ended = threading.Event(), threading.Event()

    def look() -> None:
        selected = f"metadata.name={pod}"
        with contextlib.suppress(urllib3.exceptions.HTTPError):  # a stream that is stopped ends like that
            for event in stream.stream(
                core.list_namespaced_pod, NAMESPACE, field_selector=selected, timeout_seconds=600
            ):
                began.set()
                marks = event["object"].metadata.annotations or {}
                sightings.look(_number({"metadata": {"annotations": marks}}, label))
                if ended.is_set():
                    return

    with _thread(look, ended):
        if not began.wait(_LAST_S):
            raise ToolFailed("the official client's watch did not begin")
        yield
        stream.stop()
        ended.set()
        # one more change lets the thread see that it is over
        Kube(kubeconfig).patch(f"{PODS}/{pod}", {"metadata": {"annotations": {_MARK: "over:0"}}})


@contextlib.contextmanager
def _asking(kube: Kube, pod: str, label: str, sightings: Sightings, every_s: float) -> Iterator[None]:
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            for row in kube.list_all(PODS, fields=f"metadata.name={pod}").items:
                sightings.look(_number(row, label))
            time.sleep(every_s)

    with _thread(look, ended):
        yield


@contextlib.contextmanager
def _thread(look: Callable[[], None], ended: threading.Event) -> Iterator[None]:
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_LAST_S)


def _number(row: Object, label: str) -> int:
    """Return the change that the object shows; 0 for one of another turn."""
    turn, _, number = ((row["metadata"].get("annotations") or {}).get(_MARK) or "").partition(":")
    return int(number) if turn == label else 0
