from pathlib import Path

import pytest

from provisioners.compose.envfile import parse_env, read_env_file
from provisioners.errors import InputError


def test_forms() -> None:
    text = """
# comment
A=1
export B = two words   # trailing
C='single $A # kept'
D="double $A\\n\\"q\\" \\$A"
E=${A}-${NO:-x}
F
G=
H="over
two lines"
I=a#b
J: yaml
"""
    assert parse_env(text, "f", {}) == {
        "A": "1",
        "B": "two words",
        "C": "single $A # kept",
        "D": 'double 1\n"q" $A',
        "E": "1-x",
        "F": None,
        "G": "",
        "H": "over\ntwo lines",
        "I": "a#b",
        "J": "yaml",
    }


def test_outer_values_win_in_references() -> None:
    assert parse_env("A=1\nB=$A", "f", {"A": "outer"})["B"] == "outer"


@pytest.mark.parametrize(("text", "line"), [("A=1\nno assignment", 2), ("A='open", 1), ("A=${x", 1)])
def test_mistakes_name_the_line(text: str, line: int) -> None:
    with pytest.raises(InputError, match=f"f:{line}"):
        parse_env(text, "f", {})


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "e"
    path.write_bytes(b"\xef\xbb\xbfA=1\r\n")
    assert read_env_file(path) == {"A": "1"}
    path.write_bytes(b"A=\xff")
    with pytest.raises(InputError, match="UTF-8"):
        read_env_file(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_env_file(tmp_path / "absent")
