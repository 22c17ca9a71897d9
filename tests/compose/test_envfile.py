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


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("A=#x", {"A": "#x"}),
        ("A=x #y", {"A": "x"}),
        ("A=x\t#y", {"A": "x\t#y"}),
        ("A='it\\'s'", {"A": "it's"}),
        ("A='a\\nb'", {"A": "a\\nb"}),
        ('A="a\\tb\\0101\\q"', {"A": "a\tbA\\q"}),
        ('A="x" # said', {"A": "x"}),
        ("A='one\ntwo # no comment\n'", {"A": "one\ntwo # no comment\n"}),
        ("export A.B-C[0]=1", {"A.B-C[0]": "1"}),
        ("A=1\nB=${A:+yes}${C:-${A}}", {"A": "1", "B": "yes1"}),
        ("A = b ", {"A": "b"}),
        ("A='$B'\nC=\"$$B\"", {"A": "$B", "C": "$B"}),
        ("ÅR=1", {"ÅR": "1"}),
    ],
)
def test_values_as_compose_reads_them(text: str, values: dict[str, str]) -> None:
    assert parse_env(text, "f", {}) == values


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
