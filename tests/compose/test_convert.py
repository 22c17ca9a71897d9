import gc
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provisioners.compose import Fit, convert, kubernetes_bundle, load_project, swarm_bundle
from provisioners.compose.emit import to_yaml
from provisioners.errors import InputError, ProvisionError
from provisioners.tiers import Tiers
from tests.compose.conftest import INPUT, Load

NONE = Tiers(namespace="test")
ENV = {"DOCKER_REGISTRY": "r.example.com/x", "IMAGE_TAG": "1"}
ORCHESTRATOR = INPUT[0].read_text()


def test_folders_by_tier(tmp_path: Path, tiers: Tiers) -> None:
    result = convert([INPUT[0]], tmp_path / "out", ENV, tiers=tiers)
    assert {path.parts[0] for name in result.files if len((path := Path(name)).parts) > 1} == {
        "primary",
        "secondary",
        "extra",
        "backend",
    }
    rows = json.loads((tmp_path / "out" / "losses.json").read_text())
    assert len(rows) == len(result.losses)
    assert not result.refused
    assert result.keys == 424
    written = "".join(path.read_text() for path in (tmp_path / "out").rglob("*.yaml"))
    assert "${" not in written
    convert([INPUT[0]], tmp_path / "again", ENV, tiers=tiers)
    for name in result.files:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_secrets_are_named_and_not_written(tmp_path: Path) -> None:
    file = tmp_path / "c.yml"
    file.write_text("services: {web: {image: a, environment: [DB_PASSWORD=hunter2]}}")
    result = convert([file], tmp_path / "out", {})
    assert "secrets/web-db-password.yaml" in result.files
    assert not [
        path for path in (tmp_path / "out").rglob("*") if path.is_file() and "hunter2" in path.read_text()
    ]
    body = yaml.safe_load((tmp_path / "out" / "secrets/web-db-password.yaml").read_text())
    assert body["kind"] == "Secret"
    assert "data" not in body


def test_refused_leaves_are_results(tmp_path: Path) -> None:
    file = tmp_path / "c.yml"
    file.write_text("services:\n  web:\n    image: a\n    volumes: ['./gone:/x']\n")
    result = convert([file], tmp_path / "out", {})
    (refused,) = result.refused
    assert (refused.line, refused.path) == (4, "services.web.volumes[0]")


def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match="cannot be written"):
        convert([INPUT[0]], tmp_path / "out", ENV)


def test_a_file_that_was_longer_is_cut(tmp_path: Path) -> None:
    file, out = tmp_path / "c.yml", tmp_path / "out"
    file.write_text("services: {web: {image: a, labels: {note: " + "long" * 500 + "é}}}")
    convert([file], out, {})
    file.write_text("services: {web: {image: a}}")
    again = convert([file], out, {})
    fresh = convert([file], tmp_path / "fresh", {})
    assert again.files == fresh.files
    assert again.keys == 1
    for name in again.files:
        assert (out / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()


def test_a_variable_that_is_no_text_ends_in_files(tmp_path: Path) -> None:
    file = tmp_path / "c.yml"
    file.write_text("services: {web: {image: a, environment: {A: 'x$V'}, logging: {driver: '$V'}}}")
    convert([file], tmp_path / "out", {"V": "\udcff"})
    assert json.loads((tmp_path / "out" / "losses.json").read_bytes())
    assert "\udcff".encode(errors="surrogatepass") not in b"".join(
        path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()
    )


def test_the_collector_is_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "c.yml"
    file.write_text("services: {web: {image: a}}")
    convert([file], tmp_path / "out", {})
    assert gc.isenabled()
    with pytest.raises(InputError):
        convert([tmp_path / "gone.yml"], tmp_path / "out", {})
    assert gc.isenabled()
    gc.disable()
    try:
        convert([file], tmp_path / "out", {})
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_folder_where_a_file_has_to_be(tmp_path: Path) -> None:
    file = tmp_path / "c.yml"
    file.write_text("services: {web: {image: a}}")
    (tmp_path / "out" / "losses.json").mkdir(parents=True)
    with pytest.raises(InputError, match="cannot be written"):
        convert([file], tmp_path / "out", {})


def test_the_output_folder_may_be_a_link(tmp_path: Path) -> None:
    file, real = tmp_path / "c.yml", tmp_path / "real"
    file.write_text("services: {web: {image: a}}")
    real.mkdir()
    (tmp_path / "out").symlink_to(real)
    result = convert([file], tmp_path / "out", {})
    assert all((real / name).is_file() for name in result.files)


def test_a_broken_file_with_every_kind_of_mistake(tmp_path: Path) -> None:
    file = tmp_path / "c.yml"
    file.write_text(
        "services:\n  a:\n    image: x\n    ports: ['1:1']\n    ports: ['2:2']\n    networks: [lost]\n"
        "    deploy: {resources: {generic_resources: []}}\n"
    )
    with pytest.raises(InputError) as caught:
        convert([file], tmp_path / "out", {})
    text = str(caught.value)
    assert "c.yml:5: services.a.ports is already at line 4" in text
    assert "network 'lost' is not defined" in text
    assert "generic_resources" in text
    assert not (tmp_path / "out").exists()
    result = convert([file], tmp_path / "out", {}, duplicates="last")
    assert [loss.line for loss in result.losses if "duplicate" in loss.detail] == [4]


# -- properties ----------------------------------------------------------------------------------

names = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)
texts = st.text(max_size=12)
durations = st.sampled_from(["1s", "30s", "1m30s", "500ms", "0s"])
pairs = st.dictionaries(names, texts, max_size=3)
changes = st.fixed_dictionaries(
    {},
    optional={
        "parallelism": st.integers(0, 5),
        "delay": durations,
        "failure_action": st.sampled_from(["continue", "pause", "rollback"]),
        "monitor": durations,
        "max_failure_ratio": st.sampled_from(["0", "0.3"]),
        "order": st.sampled_from(["stop-first", "start-first"]),
    },
)
amounts = st.fixed_dictionaries(
    {}, optional={"cpus": st.sampled_from(["0.5", "2"]), "memory": st.sampled_from(["64M", "1G"])}
)
services = st.fixed_dictionaries(
    {"image": st.sampled_from(["nginx", "r.example.com/a/b:1", "x@sha256:00"])},
    optional={
        "command": st.one_of(st.lists(texts, max_size=3), st.just("run it")),
        "entrypoint": st.lists(texts, max_size=2),
        "environment": st.one_of(pairs, st.lists(st.builds("{}={}".format, names, texts), max_size=3)),
        "ports": st.lists(
            st.sampled_from(["80", "8080:80", "53:53/udp", {"target": 9, "mode": "host"}]), max_size=3
        ),
        "expose": st.lists(st.sampled_from(["80", 81, "90-92"]), max_size=2),
        "volumes": st.lists(
            st.sampled_from(["data:/a", "/b", "/srv:/c:ro", {"type": "tmpfs", "target": "/d"}]),
            max_size=3,
            unique_by=str,
        ),
        "networks": st.sampled_from([["net"], {"net": None}, {"net": {"aliases": ["other-name"]}}, []]),
        "labels": pairs,
        "healthcheck": st.sampled_from(
            [
                {"disable": True},
                {"test": "curl -f http://localhost/"},
                {"test": ["CMD", "x"], "interval": "5s", "retries": 2},
                {},
            ]
        ),
        "deploy": st.fixed_dictionaries(
            {},
            optional={
                "mode": st.sampled_from(["replicated", "global", "replicated-job"]),
                "replicas": st.integers(0, 3),
                "labels": pairs,
                "resources": st.fixed_dictionaries({}, optional={"limits": amounts, "reservations": amounts}),
                "update_config": changes,
                "rollback_config": changes,
                "restart_policy": st.sampled_from(
                    [{"condition": "any"}, {"condition": "none"}, {"delay": "5s", "max_attempts": 3}]
                ),
                "placement": st.sampled_from(
                    [{"constraints": ["node.role == worker"]}, {"max_replicas_per_node": 1}, {}]
                ),
            },
        ),
        "init": st.booleans(),
        "user": st.sampled_from(["1000", "1:2", "root"]),
        "restart": st.sampled_from(["always", "no"]),
        "logging": st.just({"driver": "json-file"}),
        "stop_grace_period": durations,
        "x-any": st.one_of(texts, pairs),
    },
)
projects = st.fixed_dictionaries(
    {
        "services": st.dictionaries(
            st.sampled_from(["web", "db", "My_App"]), services, min_size=1, max_size=3
        ),
        "networks": st.just({"net": {"driver": "overlay"}}),
        "volumes": st.just({"data": None}),
    },
    optional={"version": st.just("3.8"), "name": names, "x-top": pairs},
)
QUICK = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@QUICK
@given(model=projects)
def test_valid_models_convert_and_account_for_every_key(model: dict[str, object], tmp_path: Path) -> None:
    file = tmp_path / "compose.yml"
    file.write_text(to_yaml(model).replace("$", "$$"), encoding="utf-8")
    try:
        project = load_project([file], env={})
        bundle, losses = kubernetes_bundle(project, NONE, Fit())
    except InputError as error:
        assert "made twice" in str(error)  # two services with one alias  # noqa: PT017
        return
    assert losses
    for text in bundle.files.values():
        for item in yaml.load_all(text, Loader=yaml.CSafeLoader):
            assert item["kind"]
            assert item["metadata"]["name"]
    assert yaml.load(swarm_bundle(project, NONE, Fit()).files["stack.yml"], Loader=yaml.CSafeLoader)[
        "services"
    ]


@QUICK
@given(data=st.binary(max_size=200))
def test_random_bytes_never_raise_anything_else(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "compose.yml"
    file.write_bytes(data)
    with pytest.raises(ProvisionError):
        load_project([file], env={})


@QUICK
@given(
    at=st.integers(0, len(ORCHESTRATOR)),
    cut=st.integers(0, 40),
    put=st.text(alphabet="{}[]:,-&*!|>'\"%@`#\n \tax0<$", max_size=6),
)
def test_mutated_files_never_raise_anything_else(load: Load, at: int, cut: int, put: str) -> None:
    text = ORCHESTRATOR[:at] + put + ORCHESTRATOR[at + cut :]
    try:
        kubernetes_bundle(load(text, env=ENV, duplicates="last"), NONE, Fit())
    except InputError:
        return
