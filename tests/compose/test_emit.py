import pytest
import yaml

from provisioners.compose.emit import to_yaml

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
