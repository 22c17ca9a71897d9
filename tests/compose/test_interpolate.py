import pytest

from provisioners.compose.interpolate import InterpolationError, substitute

VARIABLES = {"A": "one", "EMPTY": "", "B": "two"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$A ${A}", "one one"),
        ("$$A $${A}", "$A ${A}"),
        ("${A:-x}${A-x}", "oneone"),
        ("${EMPTY:-x}|${EMPTY-x}", "x|"),
        ("${NO:-x}|${NO-x}|${NO:-}", "x|x|"),
        ("${A:+x}|${EMPTY:+x}|${EMPTY+x}|${NO+x}", "x||x|"),
        ("${A:?m}${EMPTY?m}", "one"),
        ("${NO:-${B:-x}}", "two"),
        ("${NO:-${NO2:-${A}}}!", "one!"),
        ("${A:+${B}/}", "two/"),
        ("${NO:-a b:c{d}", "a b:c{d"),
        ("$NO.${NO}", "."),
        ("no dollar", "no dollar"),
        ("cost: 5$", "cost: 5$"),
        ("$(date) $1 ^a$", "$(date) $1 ^a$"),
        ("$${A} $$$A", "${A} $one"),
        ("${a_1-x}$A_b", "x"),
        ("http://${A}:80/$B", "http://one:80/two"),
    ],
)
def test_rules(text: str, value: str) -> None:
    assert substitute(text, VARIABLES) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("${A", "not closed"),
        ("${}", "does not begin with a name"),
        ("${1}", "does not begin with a name"),
        ("${A!x}", "no operator"),
        ("${NO:?give it}", "NO is required: give it"),
        ("${EMPTY:?}", "EMPTY is required"),
        ("${NO?$B}", "NO is required: two"),
        ("${NO:-${X", "not closed"),
    ],
)
def test_mistakes(text: str, words: str) -> None:
    with pytest.raises(InterpolationError) as caught:
        substitute(text, VARIABLES)
    assert words in str(caught.value)


def test_unset_variables_are_told() -> None:
    told: list[str] = []
    substitute("$A ${X} $Y ${Z:-1}", VARIABLES, told.append)
    assert told == ["X", "Y"]


def test_nesting_is_bounded() -> None:
    text = "x"
    for _ in range(50):
        text = f"${{NO:-{text}}}"
    with pytest.raises(InterpolationError, match="too deep"):
        substitute(text, {})
