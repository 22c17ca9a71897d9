"""Files as the wild has them: each converts, keeps its account, and breaks only in words."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provisioners.compose import Fit, Loss, Outcome, Project, count_keys, kubernetes_bundle, load_project
from provisioners.compose.emit import to_yaml
from provisioners.compose.losses import input_leaves
from provisioners.errors import InputError
from provisioners.tiers import Tiers
from tests.compose.test_convert import projects, services
from tests.compose.test_losses import is_covered, yaml_leaves

if TYPE_CHECKING:
    from provisioners.compose.reader import Duplicates

FILES = Path(__file__).parent / "files"
NONE = Tiers(namespace="test")
ENV = {"HF_TOKEN": "example", "GITLAB_ROOT_PASSWORD": "example", "FLAGS": "a: b"}
SETS = {
    **{path.stem: (path,) for path in sorted(FILES.glob("*.yml")) if path.stem != "blue-green-prod"},
    "blue-green": (FILES / "blue-green-base.yml", FILES / "blue-green-prod.yml"),
    "shop": (FILES / "shop" / "compose.yml",),
}
REFUSED = {
    "homelab": {"services.jellyfin.devices", "volumes.nas"},
    "monitoring-swarm": {"services.cadvisor.devices"},
    "nextcloud": {"services.cron.volumes_from"},
    "blue-green-base": {"services.api.volumes[0]"},
}


def converted(files: tuple[Path, ...], env: dict[str, str] = ENV) -> tuple[Project, tuple[Loss, ...]]:
    project = load_project(files, env=env)
    return project, kubernetes_bundle(project, NONE, Fit())[1]


def test_there_are_enough() -> None:
    assert len(SETS) >= 18


@pytest.mark.parametrize("name", SETS)
def test_it_converts_and_every_leaf_is_accounted_for(name: str) -> None:
    project, losses = converted(SETS[name])
    assert project.services
    assert {loss.path for loss in losses if loss.outcome is Outcome.REFUSED} <= REFUSED.get(name, set())
    for source in project.sources:
        entries = {loss.path for loss in losses if loss.file == source.name}
        leaves = yaml_leaves(Path(source.name))
        assert leaves
        assert not [leaf for leaf in leaves if not is_covered(leaf[0], entries)]
    assert count_keys(project) == len(list(input_leaves(project)))
    assert all(loss.detail for loss in losses if loss.outcome is not Outcome.CONVERTED)


def test_all_files_of_the_shop_are_read() -> None:
    project, losses = converted(SETS["shop"])
    names = [str(Path(source.name).relative_to(FILES / "shop")) for source in project.sources]
    assert names == [
        "compose.yml",
        "payments/compose.yml",
        "payments/audit.yml",
        "common/infrastructure.yml",
        "common/infrastructure.prod.yml",
        "common/service.yml",
    ]
    assert set(project.services) == {"web", "worker", "database", "payments", "audit"}
    images = {name: service.image.value for name, service in project.services.items() if service.image}
    assert images == {
        "web": "registry.example.com/shop/web:1",
        "worker": "registry.example.com/shop/web:1",
        "database": "postgres:16",
        "payments": "registry.example.com/shop/payments:9",
        "audit": "example/audit:9",
    }
    worker = project.services["worker"]
    assert not worker.ports
    assert worker.healthcheck
    assert not worker.healthcheck.active
    assert {var.name: var.value for var in (*worker.file_environment, *worker.environment)} == {
        "REGION": "eu",
        "LOG_LEVEL": "info",
        "ROLE": "worker",
    }
    assert [mount.source for mount in worker.mounts] == ["./common/settings.toml"]
    dropped = {
        loss.path for loss in losses if loss.outcome is Outcome.DROPPED and "only parts" in loss.detail
    }
    assert dropped == {"services.never-used", "networks.never-used-either"}


def test_the_green_side() -> None:
    project, _ = converted(SETS["blue-green"])
    assert set(project.services) == {"api"}
    api = project.services["api"]
    assert [(port.published, port.target) for port in api.ports] == [(443, 3000)]
    assert not api.mounts
    assert "build" not in api.others
    assert {var.name: var.value for var in api.environment} == {"NODE_ENV": "production"}


def test_an_empty_variable_is_a_text_and_not_nothing() -> None:
    project, _ = converted(SETS["elk"])
    values = {var.name: var.value for var in project.services["logstash"].environment}
    assert values["LOGSTASH_INTERNAL_PASSWORD"] == ""


# -- mutated files, and models over several files --------------------------------------------------

_PIECES = (
    *(
        "{",
        "}",
        "[",
        "]",
        ": ",
        "- ",
        "&a ",
        "*a",
        "<<: ",
        "!reset ",
        "'",
        '"',
        "%",
        "@",
        "`",
        "#",
        "\n",
        "\t",
    ),
    *("  ", "x", "0", "${", "}", "$", "null", "extends: ", "include: ", "\x00", "\u2028", "\U0001f082"),
)


def _mutated(text: str, draw: random.Random) -> str:
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(text) + 1)
        cut = draw.choice((0, 0, 1, 2, 8, 40))
        lines = text.split("\n")
        kind = draw.randrange(4)
        if kind == 0:
            text = text[:at] + text[at + cut :]
        elif kind == 1:
            text = text[:at] + draw.choice(_PIECES) + text[at + cut :]
        elif kind == 2:
            first, second = draw.randrange(len(lines)), draw.randrange(len(lines))
            lines[first], lines[second] = lines[second], lines[first]
            text = "\n".join(lines)
        else:
            lines.insert(draw.randrange(len(lines)), draw.choice(lines))
            text = "\n".join(lines)
    return text


DUPLICATES: tuple[Duplicates, ...] = ("error", "last")


def _end(files: tuple[Path, ...], duplicates: Duplicates) -> str:
    """How a conversion ends: any error but an InputError is a failure of the test."""
    try:
        kubernetes_bundle(load_project(files, env=ENV, duplicates=duplicates), NONE, Fit())
    except InputError as error:
        return "refused" if error.what and "Traceback" not in str(error) else "without words"
    return "converted"


@pytest.mark.parametrize("name", SETS)
def test_mutated_files_end_in_words(name: str, tmp_path: Path) -> None:
    draw = random.Random(name)
    ended: Counter[str] = Counter()
    folder = tmp_path / "files"
    shutil.copytree(SETS[name][0].parent, folder)
    files = tuple(folder / path.name for path in SETS[name])
    text = files[-1].read_text()
    limit = time.monotonic() + 5
    for _ in range(25):
        files[-1].write_text(_mutated(text, draw), encoding="utf-8")
        for duplicates in DUPLICATES:
            ended[_end(files, duplicates)] += 1
        if time.monotonic() > limit:
            break
    assert ended["refused"]
    assert not ended["without words"]


QUICK = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def _write(path: Path, model: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(to_yaml(model).replace("$", "$$"), encoding="utf-8")  # type: ignore[arg-type]


@QUICK
@given(model=projects, base=services, more=services, over=services, included=services)
def test_models_over_several_files_account_for_every_key(
    model: dict[str, object],
    base: dict[str, object],
    more: dict[str, object],
    over: dict[str, object],
    included: dict[str, object],
    tmp_path: Path,
) -> None:
    own = dict(model["services"])  # type: ignore[call-overload]
    for name, service in own.items():
        own[name] = {**service, "extends": {"file": "lib/base.yml", "service": "app"}}
    own["short"] = {"extends": "inner", "image": "x"}
    sections = {key: model[key] for key in ("networks", "volumes")}
    _write(tmp_path / "c.yml", {**model, "services": own, "include": ["inc/i.yml"]})
    _write(tmp_path / "lib" / "base.yml", {"services": {"app": {**base, "extends": "root"}, "root": more}})
    _write(tmp_path / "inc" / "i.yml", {"services": {"inner": included}, **sections})
    _write(tmp_path / "over.yml", {"services": {next(iter(own)): over}})
    try:
        project, losses = converted((tmp_path / "c.yml", tmp_path / "over.yml"), {})
    except InputError as error:
        assert "made twice" in str(error)  # two services with one alias  # noqa: PT017
        return
    assert {Path(source.name).name for source in project.sources} == {
        "c.yml",
        "over.yml",
        "base.yml",
        "i.yml",
    }
    for source in project.sources:
        entries = {loss.path for loss in losses if loss.file == source.name}
        assert not [leaf for leaf in yaml_leaves(Path(source.name)) if not is_covered(leaf[0], entries)]


@QUICK
@given(data=st.binary(max_size=200))
def test_random_bytes_in_borrowed_files(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_text("include: [i.yml]\nservices: {a: {extends: {file: e.yml, service: b}}}")
    (tmp_path / "i.yml").write_bytes(data)
    (tmp_path / "e.yml").write_bytes(data)
    with pytest.raises(InputError):
        load_project([tmp_path / "c.yml"], env={})
