"""The config: every problem at once, each with its place and the nearest valid key."""

from pathlib import Path

import pytest

from provisioners.errors import InputError
from verbs.config import Config, LoadConfig, load_config, margin_of

GOOD = """
target: {kind: noop}
compose: [a.yml]
tiers: tiers.yaml
"""


def written(folder: Path, text: str) -> str:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("kind", ["lab", "noop"])
def test_built_in_configs_name_files_that_exist(kind: str) -> None:
    config = load_config(kind)
    assert config.target.kind == kind
    assert config.env_file is not None
    for path in (*config.compose, config.tiers, config.env_file):
        assert path.is_file()


def test_paths_are_relative_to_the_config(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, GOOD))
    assert config.compose == [tmp_path / "a.yml"]
    assert config.tiers == tmp_path / "tiers.yaml"


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("scal: {replicas: 1}", "did you mean 'scale'"),
        ("scale: {replica: 1}", "did you mean 'replicas'"),
        ("scale: {services: {a: {cpu: 1}}}", "did you mean 'cpus'"),
        ("load: {margin: '10'}", "no unit"),
        ("load: {margin: '200%'}", "over 100"),
        ("load: {margin: '0%', margin_floor: '0ms'}", "no run can show a margin of 0"),
        ("load: {margin: '0 ms', margin_floor: '0.0%'}", "no run can show a margin of 0"),
        (f"load: {{margin: '{'9' * 400}ms'}}", "no finite number"),
        ("load: {margin: '-5%'}", "no unit"),
        ("load: {margin: nan%}", "no unit"),
        ("load: {rate_per_s: 0}", "greater than 0"),
        ("load: {duration_s: 0}", "greater than or equal to 1"),
        ("load: {duration_s: .inf}", "valid number"),
        ("load: {rate_per_s: -1}", "greater than 0"),
        ("load: {rate_per_s: .nan}", "valid number"),
        ("scale: {memory: lots}", "amount of memory"),
        ("waivers: [{criterion: metric.cots, name: A, reason: b, until: 2030-01-01}]", "metric.cost"),
        ("waivers: [{criterion: metric.cost, name: A, reason: b}]", "until"),
    ],
)
def test_a_wrong_key_or_value_is_refused(tmp_path: Path, extra: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        load_config(written(tmp_path, f"{GOOD}{extra}\n"))
    assert words in str(caught.value)
    assert "config.yaml" in str(caught.value)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_config(written(tmp_path, "target: {kind: nomad}\nteirs: x\n"))
    text = str(caught.value)
    for words in ("target.kind", "compose", "did you mean 'tiers'"):
        assert words in text


@pytest.mark.parametrize("text", ["", "- a\n", "just words\n"])
def test_a_config_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError):
        load_config(written(tmp_path, text))


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        load_config(str(tmp_path))


def test_one_of_both_margins_may_be_zero() -> None:
    assert margin_of(LoadConfig(margin="0%")).floor_ms == 1.0
    assert margin_of(LoadConfig(margin_floor="0ms")).share == 0.1


def test_the_margin_is_the_larger_of_share_and_floor() -> None:
    assert (margin_of(LoadConfig()).share, margin_of(LoadConfig()).floor_ms) == (0.1, 1.0)
    assert margin_of(LoadConfig(margin="2%", margin_floor="0.5 ms")).floor_ms == 0.5


def test_a_config_survives_its_own_json() -> None:
    config = load_config("noop")
    assert Config.model_validate(config.model_dump(mode="json", by_alias=True)) == config
