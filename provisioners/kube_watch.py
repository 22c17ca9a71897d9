"""A collection of the API server as it is now: listed once, then kept by a watch.

A watch ends for many reasons that mean nothing: its time is over, a proxy closed it, the server
restarted. `follow` goes on from the version it had; where the server no longer knows that
version (410 Gone) it lists again. Refused credentials and an unknown kind are errors.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Self

from provisioners.changes import Bell
from provisioners.errors import ProvisionError
from provisioners.kube import Event, KubeError, Listing, WatchExpired

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from provisioners.kube import Kube, Object

WATCH_S = 10.0  # one request's length: how long a thread may outlive its block
_PAUSE_S = 0.05  # before going on after a watch that ended without a word
_LONGEST_PAUSE_S = 2.0
_PASSING = frozenset({0, 429, 500, 502, 503, 504})  # 0: no answer


def follow(
    kube: Kube,
    path: str,
    version: str,
    ended: threading.Event,
    *,
    bound_s: float,
    labels: str = "",
    fields: str = "",
) -> Iterator[Listing | Event]:
    """Yield what changes in a collection since `version`, until `ended` is set or `bound_s` seconds passed.

    A Listing replaces all that was known: it comes first where `version` is empty, and again
    whenever the version had become too old. While the server does not answer, it is asked
    again with growing pauses.

    Raises:
        TargetRefused: 401 or 403.
        KubeError: the server answered with an error that will not pass.
    """
    deadline = time.monotonic() + bound_s
    pause_s = _PAUSE_S
    while not ended.is_set() and (left_s := deadline - time.monotonic()) > 0:
        began = time.monotonic()
        try:
            if not version:
                listing = kube.list_all(path, labels=labels, fields=fields)
                version = listing.resource_version
                yield listing
            for event in kube.watch(path, version, min(WATCH_S, left_s), labels=labels, fields=fields):
                version = event.object["metadata"]["resourceVersion"]
                pause_s = _PAUSE_S
                if event.type != "BOOKMARK":
                    yield event
                if ended.is_set():
                    return
        except WatchExpired:
            version = ""
        except KubeError as error:
            if error.status not in _PASSING:
                raise
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        if time.monotonic() - began < pause_s:
            ended.wait(pause_s)


class Followed:
    """The objects of a collection by name, kept up to date by a thread while the block lasts.

    `rows` and `wait` raise what ended the watch for good. `ring` is called at each change.
    """

    def __init__(
        self,
        kube: Kube,
        path: str,
        *,
        bound_s: float,
        labels: str = "",
        fields: str = "",
        ring: Callable[[], None] | None = None,
    ) -> None:
        self._ended = threading.Event()
        self._events = follow(kube, path, "", self._ended, bound_s=bound_s, labels=labels, fields=fields)
        self._ring = ring or (lambda: None)
        self._changed = threading.Condition()
        self._rows: dict[str, Object] = {}
        self._count = 0
        self._error: ProvisionError | None = None
        self._thread = threading.Thread(target=self._run, name=f"watch {path}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()

    @property
    def count(self) -> int:
        """How many changes were seen, the first listing among them; 0 before it."""
        return self._count

    def rows(self) -> Sequence[Object]:
        """Return the objects as last seen; none before the first listing."""
        with self._changed:
            self._check()
            return tuple(self._rows.values())

    def wait(self, timeout_s: float, *, after: int) -> int:
        """Return the count of changes once it is over `after`, or as it is after `timeout_s` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._count > after or self._error, timeout_s)
            self._check()
            return self._count

    def until(self, holds: Callable[[Sequence[Object]], bool], timeout_s: float) -> bool:
        """Return True as soon as `holds` is true of the objects, False after `timeout_s` seconds."""
        deadline = time.monotonic() + timeout_s
        count = self._count
        while not (count and holds(self.rows())):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            count = self.wait(left_s, after=count)
        return True

    def _run(self) -> None:
        try:
            for change in self._events:
                with self._changed:
                    self._take(change)
                    self._count += 1
                    self._changed.notify_all()
                self._ring()
        except ProvisionError as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _take(self, change: Listing | Event) -> None:
        if isinstance(change, Listing):
            self._rows = {_key(row): row for row in change.items}
        elif change.type == "DELETED":
            self._rows.pop(_key(change.object), None)
        else:
            self._rows[_key(change.object)] = change.object

    def _check(self) -> None:
        if self._error:
            raise self._error


class ServiceChanges:
    """Rings when pods of one selector or any node change; what cannot be watched stays silent."""

    def __init__(self, kube: Kube, namespace: str, labels: str, bound_s: float) -> None:
        self._bell = Bell()
        pods = f"/api/v1/namespaces/{namespace}/pods"
        self._followed = (
            Followed(kube, pods, labels=labels, bound_s=bound_s, ring=self._bell.ring),
            Followed(kube, "/api/v1/nodes", bound_s=bound_s, ring=self._bell.ring),
        )

    def __enter__(self) -> Bell:
        for one in self._followed:
            one.__enter__()
        return self._bell

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in self._followed:
            one.__exit__(kind, error, trace)


def _key(row: Object) -> str:
    meta = row["metadata"]
    return f"{meta.get('namespace', '')}/{meta['name']}"
