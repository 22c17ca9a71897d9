"""The benchmark of `convert`: its input, and how it finds out which keys arrive."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from benchmarks import compose_keys
from benchmarks.compose_input import compose_text
from benchmarks.compose_keys import KEPT, LOST, REFUSED, TOLD, _Output
from provisioners.compose import convert


def test_the_input_is_the_same_for_a_seed_and_converts(tmp_path: Path) -> None:
    text = compose_text(30)
    assert text == compose_text(30)
    assert text != compose_text(30, seed=2)
    assert len(yaml.safe_load(text)["services"]) == 30
    file = tmp_path / "c.yml"
    file.write_text(text)
    result = convert([file], tmp_path / "out", {})
    assert not result.refused
    assert result.keys > 30 * 25


@pytest.mark.parametrize(
    ("files", "said", "status"),
    [
        ([{"a": b"1"}, {"a": b"2"}], ["", ""], KEPT),
        ([{"a": b"1"}, {"a": b"1"}], ["", ""], LOST),
        ([{"a": b"1"}, {"a": b"1"}], ["deploy.mode is not known", "deploy.mode is not known"], TOLD),
        ([{"a": b"1"}, {"a": b"1"}], ["replicated", "global"], TOLD),
        ([{"a": b"1"}, {"a": b"1"}], ["deploy.replicas", "deploy.replicas"], LOST),
        ([{"a": b"1"}, None], ["", ""], REFUSED),
    ],
)
def test_status_of_a_key(files: list[dict[str, bytes] | None], said: list[str], status: str) -> None:
    outputs = [_Output(one, text) for one, text in zip(files, said, strict=True)]
    seen = iter(outputs)
    assert compose_keys._status(lambda _: next(seen), "deploy.mode", ("replicated", "global")) == status


def test_contenders_are_told_apart() -> None:
    def status(convert_one: Callable[[Path], _Output], key: str) -> str:
        return compose_keys._status(convert_one, key, compose_keys._VARIANTS[key])

    assert status(compose_keys._gonogo, "image") == status(compose_keys._script, "image") == KEPT
    assert status(compose_keys._gonogo, "hostname") == KEPT
    assert status(compose_keys._script, "hostname") == LOST
    assert status(compose_keys._gonogo, "logging") == TOLD
    assert status(lambda _: _Output({"all": b"the same"}, ""), "image") == LOST


def test_gonogo_loses_no_key_in_silence() -> None:
    statuses = {
        key: compose_keys._status(compose_keys._gonogo, key, values)
        for key, values in compose_keys._VARIANTS.items()
    }
    assert LOST not in statuses.values()
    assert sum(word == KEPT for word in statuses.values()) > len(statuses) // 2
