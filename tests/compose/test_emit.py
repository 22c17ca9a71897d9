import math
from types import MappingProxyType
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioners.compose import Outcome
from provisioners.compose.emit import to_yaml
from provisioners.compose.nodes import plain
from provisioners.compose.reader import read_text

AWKWARD = [
    "22:22",
    "on",
    "NO",
    "y",
    "0644",
    "1e3",
    "null",
    "~",
    "",
    " lead",
    "trail ",
    "a: b",
    "#x",
    "- x",
    "{x}",
    "*a",
    "&a",
    "%d",
    "@x",
    "`x`",
    "'q'",
    '"q"',
    "a\\b",
    "line\nbreak",
    "line\nbreak\n",
    "\n\n",
    "\n lead",
    "a\n\nb",
    "tab\there",
    "\u2028",
    "\x07",
    "é",
    "😀",
    "2001-01-01",
    "=",
    "<<",
    "!x",
    "?",
    "-",
    ":",
    "a:",
    "true",
    "1_000",
    "0x1F",
    ".5",
    "inf",
    "x\n---\ny",
    "a\r\nb",
    "\ufeffx",
    "key: |\n  x",
]


@pytest.mark.parametrize("text", AWKWARD)
def test_any_text_comes_back(text: str) -> None:
    written = to_yaml({"a": text, "l": [text, {"k": text}], text or "k": 1})
    read = yaml.safe_load(written)
    assert read["a"] == text
    assert read["l"] == [text, {"k": text}]
    assert read[text or "k"] == 1


def test_data_comes_back_the_same_twice() -> None:
    data = {
        "a": {},
        "b": [],
        "c": [[1, [2]], [{"x": [{}]}], []],
        "d": None,
        "e": [True, 0.5, 1],
        "f": {"g": {"h": "i"}},
    }
    assert yaml.safe_load(to_yaml(data)) == data
    assert to_yaml(data) == to_yaml(data)


def test_documents() -> None:
    assert list(yaml.safe_load_all(to_yaml({"a": 1}, {"b": 2}))) == [{"a": 1}, {"b": 2}]


# -- properties: what any reader gets back ----------------------------------------------------

# Words that a reader of YAML 1.1, of 1.2 or of JSON takes for something else when they are bare.
WORDS = """
y Y n N yes Yes YES no No NO on On ON off Off OFF true True TRUE false False FALSE null Null NULL ~
.nan .NaN nan NaN inf .inf -.inf +.INF Infinity -Infinity 0 -1 +1 0o17 017 0x1f 0b11 1_000 190:20:30 22:22 1:1
1.5 1. .5 1e3 1.0e+3 1E-3 -0 0.0 ._ 1__0 2001-01-01 2001-12-14t21:59:43.10-05:00 << = ! & * | > % @ ` - -- ---
... ? : , [ ] { } # ' " http://a.example.com:80/x?y=1 a:b:c c:/x /a/b _ a@b e1
"""
TRAPS = [
    *WORDS.split(),
    *["", " ", "\t", "\n", "a ", " a", "a: b", "a:", ":a", "a #b", "#a", "- a", "? a", "a\tb", "a,b", "[a]"],
    *["x\u0085y", "\u00a0", "\ue000", "\U0010ffff"],
]
whole = st.characters(exclude_categories=["Cs"])  # half a character has no place in a UTF-8 file
chars = st.one_of(st.sampled_from(" \n\t\r:#-?|>&*!%@`'\"{}[],.0123456789eEnNyYxo_~<=/\\"), whole)
hostile = st.one_of(st.sampled_from(TRAPS), st.text(chars, max_size=20), st.text(max_size=20))
numbers = st.one_of(st.integers(), st.floats(allow_nan=False))
plain_data = st.recursive(
    st.one_of(hostile, numbers, st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(hostile, inner, max_size=4)),
    max_leaves=12,
)


@pytest.mark.parametrize("loader", [yaml.SafeLoader, yaml.CSafeLoader])
@given(data=st.dictionaries(hostile, plain_data, max_size=4))
@settings(max_examples=150, deadline=None)
def test_whatever_data_comes_back_as_it_was(loader: Any, data: dict[str, object]) -> None:
    read = yaml.load(to_yaml(data), Loader=loader)  # noqa: S506  both are safe ones
    assert read == data
    assert kinds(read) == kinds(data)  # True is not 1, and 1 is not 1.0


def kinds(data: object) -> object:
    if isinstance(data, dict):
        return {key: kinds(value) for key, value in data.items()}
    if isinstance(data, list):
        return [kinds(value) for value in data]
    return type(data)


@pytest.mark.parametrize("text", TRAPS)
def test_trap_words_come_back(text: str) -> None:
    written = to_yaml({"k": text, "l": [text], text or "x": 1})
    for read in (yaml.safe_load(written), yaml.load(written, Loader=yaml.CSafeLoader)):
        assert read["k"] == text
        assert read["l"] == [text]
        assert read[text or "x"] == 1
    assert plain(read_text(to_yaml({"k": text, "l": [text]}), "t").root) == {"k": text, "l": [text]}


@given(text=hostile)
@settings(max_examples=300, deadline=None)
def test_a_text_is_a_text_by_the_core_rules_of_1_2_too(text: str) -> None:
    """Our own reader goes by YAML 1.2, and keeps what is quoted apart."""
    root = read_text(to_yaml({"k": text}), "t").root
    assert plain(root) == {"k": text}


def test_the_trap_words_would_not_come_back_bare() -> None:
    """The control of the tests above: unquoted, most of the traps are something else."""
    changed = 0
    for word in TRAPS:
        try:
            changed += yaml.safe_load(f"k: {word}\n") != {"k": word}
        except yaml.YAMLError:
            changed += 1
    assert changed > len(TRAPS) // 2


@pytest.mark.parametrize(
    "value", [1e20, 1e-7, 1.5e300, 5e-324, -0.0, 0.1, 100.0, float("inf"), -float("inf")]
)
def test_floats_are_floats_to_readers_of_1_1(value: float) -> None:
    read = yaml.safe_load(to_yaml({"a": value, "l": [value]}))
    assert read == {"a": value, "l": [value]}
    assert isinstance(read["a"], float)
    assert math.isnan(yaml.safe_load(to_yaml({"a": float("nan")}))["a"])


@pytest.mark.parametrize("length", [999, 1000, 1001, 1024, 5000])
def test_long_keys(length: int) -> None:
    data = {"a": {"k" * length: "v", "b": [{"k" * length: {"c": 1}}], "q " + "k" * length: []}}
    assert yaml.safe_load(to_yaml(data)) == data
    assert yaml.load(to_yaml(data), Loader=yaml.CSafeLoader) == data


def test_kinds_of_keys_values_and_documents() -> None:
    class Word(str):
        __slots__ = ()

    data: dict[Any, object] = {1: "b", "x": Outcome.DROPPED, Word("w"): Word("no")}
    assert yaml.safe_load(to_yaml(data)) == {
        "1": "b",
        "x": "dropped",
        "w": "no",
    }
    assert yaml.safe_load(to_yaml({"t": (1, 2), "m": MappingProxyType({"a": ()})})) == {
        "t": [1, 2],
        "m": {"a": []},
    }
    assert list(yaml.safe_load_all(to_yaml({}, {"a": {}}))) == [{}, {"a": {}}]
    with pytest.raises(TypeError):
        to_yaml({"a": object()})
