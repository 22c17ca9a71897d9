"""docs/converting.md says what the converter does, for every key that it knows."""

from pathlib import Path

import pytest

from provisioners.compose import table
from provisioners.compose.known import KEYS
from provisioners.compose.load import load_yaml

DOC = Path(__file__).resolve().parents[2] / "docs" / "converting.md"


@pytest.fixture(scope="module")
def rows() -> list[table.Row]:
    return table.rows()


def test_the_document_is_fresh(rows: list[table.Row]) -> None:
    made = table.render(rows).splitlines()
    written = DOC.read_text(encoding="utf-8").splitlines()
    differs = [f"-{old}\n+{new}" for old, new in zip(written, made, strict=False) if old != new]
    assert written == made, f"run {table.COMMAND}\n" + "\n".join(differs[:5])


def test_every_known_key_has_a_row(rows: list[table.Row]) -> None:
    shown = {(row.specimen.place, row.specimen.key) for row in rows}
    assert shown == {(place, key) for place, keys in KEYS.items() for key in keys}
    text = DOC.read_text(encoding="utf-8")
    for row in rows:
        assert f"| `{row.specimen.key}` | " in text


def test_a_row_says_what_became_of_the_key(rows: list[table.Row]) -> None:
    for row in rows:
        assert row.outcome in {"converted", "approximated", "dropped", "refused", "not read"}
        assert row.words or row.target, row.specimen.path
        assert row.outcome not in {"dropped", "refused", "not read"} or row.words
    # a file that is not read shows nothing of a key, so few rows may be such
    unread = [row for row in rows if row.outcome == "not read"]
    assert len(unread) < len(rows) / 20


def test_no_row_depends_on_where_it_was_made(rows: list[table.Row]) -> None:
    text = table.render(rows)
    assert "/tmp" not in text
    assert "compose.yml:" not in text
    assert text == table.render(table.rows())


def test_the_table_follows_the_converter(monkeypatch: pytest.MonkeyPatch, rows: list[table.Row]) -> None:
    from provisioners.compose import no_counterpart

    dropped = next(row for row in rows if row.specimen.key == "cpuset")
    assert dropped.outcome == "dropped"
    monkeypatch.setitem(no_counterpart.DROPPED, "cpuset", "other words")
    assert table._row(dropped.specimen).words == "other words"
    monkeypatch.delitem(no_counterpart.DROPPED, "cpuset")
    assert table._row(dropped.specimen).outcome == "refused"


def test_a_new_key_gets_a_row_before_it_has_a_specimen(monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_yaml(table.SPECIMENS)
    assert isinstance(data, dict)
    del data["keys"]["services.*"]["privileged"]
    monkeypatch.setattr(table, "_data", lambda: data)
    (found,) = [one for one in table.specimens() if one.place == "services.*" and one.key == "privileged"]
    assert found.value is True  # the first plain value that the reader takes


def test_specimens_are_of_known_keys() -> None:
    data = load_yaml(table.SPECIMENS)
    assert isinstance(data, dict)
    assert set(data["places"]) == set(KEYS) - {""}
    strange = [
        f"{place}.{key}"
        for place, keys in data["keys"].items()
        for key in keys
        if key not in KEYS.get(place, ())
    ]
    assert strange == []
