"""Dataclasses of the converter behave as frozen ones do, but for the check at run time."""

from __future__ import annotations

from dataclasses import asdict, field, fields, replace

from provisioners.compose.records import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """A point."""

    x: int
    y: int = 0
    notes: list[str] = field(default_factory=list)
    hidden: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Named(Point):
    """A point with a name."""

    name: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Leaf:
    """One that is itself and no other."""

    text: str


def test_equal_by_value() -> None:
    assert Point(1) == Point(1, 0)
    assert Point(1) != Point(2)
    assert Point(1, hidden="a") != Point(1, hidden="b")
    assert Point(1) != Named(1)
    assert Named(1, name="a") != Named(1, name="b")
    assert Point(1).__eq__("Point(x=1, y=0, notes=[])") is NotImplemented
    assert Point(1).notes is not Point(1).notes


def test_by_identity_where_asked() -> None:
    leaf = Leaf("a")
    assert leaf == leaf  # noqa: PLR0124  this is what is asked
    assert leaf != Leaf("a")
    assert len({leaf, Leaf("a"), leaf}) == 2


def test_hashable_where_its_fields_are() -> None:
    @dataclass(frozen=True, slots=True)
    class Plain:
        """Nothing but values."""

        x: int
        words: tuple[str, ...] = ()

    assert len({Plain(1), Plain(1), Plain(2)}) == 2
    assert hash(Plain(1, ("a",))) == hash(Plain(1, ("a",)))


def test_shown_without_what_is_hidden() -> None:
    assert repr(Named(1, notes=["a"], hidden="secret")) == "Named(x=1, y=0, notes=['a'], name='')"


def test_the_tools_of_dataclasses_know_it() -> None:
    assert [one.name for one in fields(Named(1))] == ["x", "y", "notes", "hidden", "name"]
    assert replace(Point(1), y=2) == Point(1, 2)
    assert asdict(Point(1)) == {"x": 1, "y": 0, "notes": [], "hidden": ""}
    assert not hasattr(Point(1), "__dict__")
