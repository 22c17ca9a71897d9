from __future__ import annotations

import hashlib
import json
import random
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from provisioners.compose import load_project
from provisioners.compose import schema as schemas
from provisioners.compose.known import KEYS
from provisioners.compose.nodes import Leaf, Listing, Node, Table, plain
from provisioners.compose.reader import read_text
from provisioners.errors import InputError
from tests.compose.conftest import INPUT, Load

FOLDER = Path(schemas.__file__).with_name("schemas")
FILES = sorted((Path(__file__).parent / "files").glob("*.yml"))
HEAD = "services:\n  web:\n    image: a\n"


def faults(text: str) -> list[str]:
    root = read_text(text, "f").root
    assert isinstance(root, Table)
    return [f"{fault.at.path}: {fault.text}" for fault in schemas.check(root)]


def test_the_data_is_what_was_published() -> None:
    table = (FOLDER / "README.md").read_text()
    for name in (schemas.SPECIFICATION, schemas.STACK):
        row = next(line for line in table.splitlines() if line.startswith(f"| `{name}`"))
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() in row
        assert "Apache-2.0" in row


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("user: 1000", "user: a text is wanted here, not the number 1000; write it in quotes"),
        ("command: [1]", "command[0]: a text is wanted here, not the number 1; write it in quotes"),
        ("command: {a: b}", "command: a text or a list is wanted here, not a table"),
        ("ulimits: 5", "ulimits: a table is wanted here, not the number 5"),
        ("ulimits: {nofile: {soft: 1}}", "ulimits.nofile: `hard` is missing here"),
        ("init: 5", "init: a text or true or false is wanted here, not the number 5; write it in quotes"),
        ("build: {context: ., contxt: 1}", "build.contxt: unknown key `contxt`, did you mean `context`?"),
        ("gpus: some", "gpus: 'some' is not one of all"),
        ("links: {a: b}", "links: a list is wanted here, not a table"),
        ("environment: [{A: 1}]", "environment[0]: a text is wanted here, not a table"),
        ("blkio_config: {weight: 1, foo: 2}", "blkio_config.foo: unknown key `foo`"),
        ("logging: json-file", "logging: a table is wanted here, not the text 'json-file'"),
        ("volumes: [{type: bnd, target: /a}]", "volumes[0].type: 'bnd' is not one of bind, cluster,"),
        ("healthcheck: {interval: 30}", "healthcheck.interval: a text is wanted here, not the number 30"),
        ("oom_score_adj: 2000", "oom_score_adj: 2000 is not within -1000 to 1000"),
    ],
)
def test_faults_in_words(body: str, said: str) -> None:
    (found,) = faults(f"{HEAD}    {body}\n")
    assert found.startswith(f"services.web.{said}")


@pytest.mark.parametrize(
    "body",
    [
        "environment:",
        "ports:",
        "labels: {a: , b: 1, c: true}",
        "cap_add: [A, A]",
        "volume_driver: x",
        "net: host",
        "x-any: {a: [1]}",
        "ports: [80, '81:81', {target: 82}]",
        "ulimits: {nofile: 5, core: {soft: 1, hard: 2}}",
        "deploy: {mode: global, x-y: 1}",
        "gpus: all",
        "extra_hosts: {a: [10.0.0.1]}",
        "privileged: yes",
        "provider: {type: awesomecloud, options: {a: [1]}}",
    ],
)
def test_what_is_accepted(body: str) -> None:
    assert not faults(f"{HEAD}    {body}\n")


def test_names_and_sections() -> None:
    assert faults("services: {'a b': {image: x}}") == [
        "services.a b: the name 'a b' has other characters than letters, digits, `.`, `_` and `-`"
    ]
    assert faults("services: []") == ["services: a table is wanted here, not a list"]
    assert faults("networks: {n: {ipam: {config: {}}}}") == [
        "networks.n.ipam.config: a list is wanted here, not a table"
    ]
    assert faults("version: 3.8\nx-y: 1\nnetworks:\nservices: {x-a: 5}") == []


def test_what_only_a_stack_file_may_have() -> None:
    body = "volumes: {v: {x-cluster-spec: {a: 1}}}\nservices: {a: {image: b, cgroupns_mode: host}}\n"
    assert not faults(body)
    bad = "services: {a: {image: b, healthcheck: {interval: '5 parsecs'}, cgroup: host, blkio_config: 5}}\n"
    assert len(faults(bad)) == len(faults("version: '3.8'\n" + bad)) == 1


def test_all_at_once_and_none_twice(load: Load) -> None:
    text = HEAD + (
        "    user: 1000\n    deploi: {}\n    ports: [{published: 1}]\n    ulimits: 5\n"
        "    healthcheck: {retries: x}\n    environment: {A: [1]}\n"
    )
    with pytest.raises(InputError) as caught:
        load(text)
    lines = caught.value.why.split("\n")
    paths = [line.split(": ")[1] for line in lines]
    assert len(paths) == len(set(paths)) == 6, lines
    assert [int(line.split(":")[1]) for line in lines] == sorted(int(line.split(":")[1]) for line in lines)
    assert "jsonschema" not in caught.value.why
    assert "{'" not in caught.value.why


def test_interpolated_values_may_be_any_scalar(load: Load) -> None:
    assert load(HEAD + "    user: ${UID_}\n    privileged: ${P}\n", env={"UID_": "1000", "P": "true"})
    with pytest.raises(InputError, match="a table is wanted"):
        load(HEAD + "    logging: ${X}\n", env={"X": "1"})


def test_last_reads_a_number_as_its_text(load: Load) -> None:
    project = load(HEAD + "    user: 1000\n", duplicates="last")
    assert project.services["web"].user
    assert "read as the text '1000'" in project.mended[0].value
    with pytest.raises(InputError, match="ulimits"):
        load(HEAD + "    ulimits: 5\n", duplicates="last")


# -- held against a general validator ------------------------------------------------------------


OLDER = ("volume_driver", "net", "log_driver", "log_opt", "cgroupns_mode")


def relaxed(value: Any) -> Any:
    """The published schema with the documented differences: null is empty, twice is once, older keys."""
    if isinstance(value, list):
        return [relaxed(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: relaxed(item) for key, item in value.items() if key != "uniqueItems"}
    if isinstance(found.get("properties"), dict) and "image" in found["properties"]:
        found["properties"] |= {key: {} for key in OLDER}
    kind = found.get("type")
    if isinstance(kind, str | list):
        found["type"] = [*([kind] if isinstance(kind, str) else kind), "null"]
        if "enum" in found:
            found["enum"] = [*found["enum"], None]
    if isinstance(found.get("oneOf"), list):
        found["anyOf"] = found.pop("oneOf")
    return found


@pytest.fixture(scope="module")
def general() -> Any:
    document = relaxed(json.loads((FOLDER / schemas.SPECIFICATION).read_text()))
    del document["properties"]["version"]
    document["properties"]["version"] = {}
    return jsonschema.Draft202012Validator(document)


def mutated(node: Node, draw: random.Random, chance: float) -> Node:
    """The node with a few values of other kinds, other keys, and other shapes."""
    if draw.random() < chance:
        found: list[Node] = []
        leaf = Leaf(draw.choice(["5", "true", "x", "", "-1", "1.5"]), draw.random() < 0.7, "f", 1, node.path)
        table = Table({"odd": leaf}, "f", 1, node.path)
        found += [leaf, leaf, table, Listing((leaf,), "f", 1, node.path), Listing((), "f", 1, node.path)]
        return draw.choice(found)
    if isinstance(node, Table):
        entries = {
            (f"{key}x" if draw.random() < chance / 3 else key): mutated(value, draw, chance)
            for key, value in node.entries.items()
        }
        return Table(entries, node.file, node.line, node.path)
    if isinstance(node, Listing):
        return Listing(tuple(mutated(item, draw, chance) for item in node.items), "f", 1, node.path)
    return node


@pytest.mark.parametrize("path", [*FILES, INPUT[0]], ids=lambda path: path.name)
def test_the_same_verdict_as_a_general_validator(path: Path, general: Any) -> None:
    root = read_text(path.read_text(), "f").root
    assert isinstance(root, Table)
    assert not schemas.check(root)
    draw = random.Random(path.name)
    refused = 0
    for chance in (0.0, 0.004, 0.004, 0.01, 0.1):
        services = root.get("services")
        assert isinstance(services, Table)
        changed = {
            **root.entries,
            "services": Table(
                {name: mutated(value, draw, chance) for name, value in services.entries.items()},
                "f",
                1,
                "services",
            ),
        }
        other = Table(changed, "f", 1, "")
        found = schemas.check(other)
        assert bool(found) != general.is_valid(plain(other)), found
        refused += bool(found)
    assert refused  # the mutations do break something


def test_keys_that_are_known_are_those_of_the_schema() -> None:
    document = json.loads((FOLDER / schemas.SPECIFICATION).read_text())["$defs"]
    service = {
        *document["container_spec"]["properties"],
        *document["workload_spec"]["properties"],
        *document["service"]["properties"],
    }
    assert service <= KEYS["services.*"]
    for place, name in (
        ("services.*.deploy", "deployment"),
        ("services.*.healthcheck", "healthcheck"),
        ("networks.*", "network"),
        ("volumes.*", "volume"),
        ("secrets.*", "secret"),
        ("configs.*", "config"),
    ):
        assert set(document[name]["properties"]) <= KEYS[place], place


def test_it_is_fast(tmp_path: Path) -> None:
    text = (Path(__file__).parent / "files" / "stack-secrets.yml").read_text()
    head, body = text.split("  app:\n")[0], text.split("  app:\n")[1].split("  cron:\n")
    tail = body[1][body[1].index("secrets:\n") :]
    big = head + "".join(f"  app{index}:\n{body[0]}" for index in range(300)) + tail
    root = read_text(big, "f").root
    assert isinstance(root, Table)
    started = time.process_time()
    assert not schemas.check(root)
    assert time.process_time() - started < 0.3
    for name in ("secrets", "config"):
        (tmp_path / name).mkdir()
    (tmp_path / "c.yml").write_text(big)
    assert len(load_project([tmp_path / "c.yml"], env={}).services) == 300
