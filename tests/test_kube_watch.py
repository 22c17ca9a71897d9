"""Following a collection: on after what means nothing, anew after 410, and an error for what is final."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from fixtures.faults.clocks import ReplicaView, _changes_of
from provisioners.changes import Bell, Follow
from provisioners.errors import TargetRefused
from provisioners.kube import Event, KubeError, Listing, WatchExpired
from provisioners.kube_target import KubernetesTarget
from provisioners.kube_watch import Followed, follow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PATH = "/api/v1/pods"


def pod(name: str, version: int, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": str(version)}, **more}


def down(status: int = 0) -> KubeError:
    return KubeError("no", status=status, where="x", why="y")


class Api:
    """Plays one script: each watch takes the next item, a list of events or an exception; then silence."""

    def __init__(self, *script: Sequence[Event] | Exception, listed: Sequence[dict[str, Any]] = ()) -> None:
        self.script = list(script)
        self.listed = tuple(listed)
        self.lists = 0
        self.versions: list[str] = []

    def list_all(self, _path: str, *, labels: str = "", fields: str = "") -> Listing:
        self.lists += 1
        return Listing(self.listed, str(100 * self.lists))

    def watch(self, _path: str, version: str, _timeout_s: float, **_: str) -> Iterator[Event]:
        self.versions.append(version)
        step = self.script.pop(0) if self.script else ()
        if isinstance(step, Exception):
            raise step
        yield from step


def seen(api: Api, version: str = "", bound_s: float = 0.6) -> list[Listing | Event]:
    return list(follow(api, PATH, version, threading.Event(), bound_s=bound_s))  # type: ignore[arg-type]


def test_a_watch_that_ended_goes_on_from_its_last_version_bookmarks_too():
    api = Api([Event("MODIFIED", pod("a", 5)), Event("BOOKMARK", pod("", 9))], [Event("ADDED", pod("b", 11))])
    assert [change.type for change in seen(api, "1") if isinstance(change, Event)] == ["MODIFIED", "ADDED"]
    assert api.versions[:3] == ["1", "9", "11"]
    assert api.lists == 0


def test_a_version_that_is_gone_is_listed_anew():
    api = Api(WatchExpired(), [Event("MODIFIED", pod("a", 101))], listed=[pod("a", 100)])
    changes = seen(api, "1")
    assert isinstance(changes[0], Listing)
    assert isinstance(changes[1], Event)
    assert api.versions[:3] == ["1", "100", "101"]


@pytest.mark.parametrize("status", [0, 429, 503])
def test_a_server_that_is_away_is_asked_again(status):
    api = Api(down(status), [Event("ADDED", pod("a", 2))])
    assert [change.type for change in seen(api, "1") if isinstance(change, Event)] == ["ADDED"]


@pytest.mark.parametrize("error", [down(404), TargetRefused("no", where="x")])
def test_what_will_not_pass_is_an_error(error):
    with pytest.raises(type(error)):
        seen(Api(error), "1")


def test_following_is_bounded_and_does_not_spin():
    api, began = Api(), time.monotonic()
    assert seen(api, "1", bound_s=0.5) == []
    assert time.monotonic() - began < 1.5
    assert len(api.versions) < 12


class Slow(Api):
    """Sends one event after a moment, then says nothing until asked to end."""

    def watch(self, _path: str, version: str, _timeout_s: float, **_: str) -> Iterator[Event]:
        if not self.versions:
            self.versions.append(version)
            time.sleep(0.1)
            yield Event("MODIFIED", pod("a", 101, ready=True))
            yield Event("DELETED", pod("b", 102))
        time.sleep(0.2)


def test_what_is_followed_is_as_the_server_has_it_and_a_waiter_wakes_at_once():
    bell = Bell()
    api = Slow(listed=[pod("a", 1), pod("b", 1)])
    with Followed(api, PATH, bound_s=5, ring=bell.ring) as followed:  # type: ignore[arg-type]
        assert followed.until(lambda rows: len(rows) == 2, 2.0)
        assert bell.wait(1.0)
        assert followed.until(lambda rows: any(row.get("ready") for row in rows), 2.0)
        assert followed.until(lambda rows: len(rows) == 1, 2.0)
        assert not followed.until(lambda rows: not rows, 0.1)


def test_a_waiter_is_told_what_ended_the_watch():
    with Followed(Api(down(404)), PATH, bound_s=5) as followed, pytest.raises(KubeError):  # type: ignore[arg-type]
        followed.wait(1.0, after=99)


def test_a_ring_before_the_wait_is_not_lost_and_counts_once():
    bell = Bell()
    bell.ring()
    assert bell.wait(0.0)
    assert not bell.wait(0.0)


class Followable:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.asked: list[str] = []

    def follow(self, service: str) -> Any:
        self.asked.append(service)
        if self.error:
            raise self.error
        return threading.Lock()


def test_the_clocks_of_a_drill_follow_a_target_that_can_be_followed():
    victim: Any = type("Victim", (), {"service": "asana-v2"})()
    for error in (None, down()):
        target: Any = Followable(error)
        with _changes_of(ReplicaView(target, victim, 1)) as changes:
            assert target.asked == ["asana-v2"]
            assert isinstance(changes, Bell) is bool(error)
    assert isinstance(KubernetesTarget.__new__(KubernetesTarget), Follow)
