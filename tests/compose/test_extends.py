from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from provisioners.compose import Fit, Loss, Outcome, Project, count_keys, kubernetes_bundle, load_project
from provisioners.compose.losses import input_leaves
from provisioners.compose.nodes import plain
from provisioners.errors import InputError, ProvisionError
from provisioners.tiers import Tiers

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes files by name and returns the folder."""

    def write_all(**texts: str) -> Path:
        for name, text in texts.items():
            path = tmp_path / name.replace("__", "/").replace("_yml", ".yml").replace("_env", ".env")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write_all


def project_of(folder: Path, **options: object) -> Project:
    return load_project([folder / "c.yml"], env={}, **options)  # type: ignore[arg-type]


def losses_of(project: Project) -> dict[tuple[str, str], Loss]:
    found = kubernetes_bundle(project, Tiers(namespace="t"), Fit())[1]
    return {(str(Path(loss.file).relative_to(project.folder)), loss.path): loss for loss in found}


BASE = """services:
  base:
    image: base:1
    environment: [A=1, B=1]
    ports: ['80:80']
    command: [one]
    labels: {k: v}
  web:
    extends: base
    environment: {B: '2', C: '3'}
    ports: ['81:81']
    command: two
"""


def test_a_service_of_the_same_file(write: Write) -> None:
    project = project_of(write(c_yml=BASE))
    web, base = project.services["web"], project.services["base"]
    assert web.image
    assert web.image.value == "base:1"
    assert {var.name: var.value for var in web.environment} == {"A": "1", "B": "2", "C": "3"}
    assert [port.target for port in web.ports] == [80, 81]
    assert plain(web.at.get("command")) == "two"
    assert "extends" not in web.others
    assert plain(base.at.get("command")) == ["one"]


def test_what_two_services_share_is_accounted_for_once(write: Write) -> None:
    project = project_of(write(c_yml=BASE))
    found = losses_of(project)
    image = found["c.yml", "services.base.image"]
    assert image.outcome is Outcome.CONVERTED
    assert found["c.yml", "services.base.command"].outcome is Outcome.CONVERTED  # it is base's own still
    assert found["c.yml", "services.web.extends"].outcome is Outcome.CONVERTED
    assert count_keys(project) == len({(leaf.file, leaf.line, leaf.path) for leaf in input_leaves(project)})


def test_a_service_of_another_file_with_its_own_paths(write: Write) -> None:
    folder = write(
        c_yml="services: {web: {extends: {file: lib/common.yml, service: app}, labels: [a=b]}}",
        lib__common_yml=(
            "version: '3'\nx-unused: 1\nservices:\n  app:\n    image: app:1\n    build: ./src\n"
            "    env_file: [app.env, {path: more.env, required: false}]\n"
            "    volumes: ['./conf:/conf:ro', '../data:/data', /abs:/abs, 'named:/n',"
            " {type: bind, source: ./long, target: /long}]\n"
            "  other: {image: other:1}\nvolumes: {named: {}}\nnetworks: {gone: {}}\n"
        ),
        lib__app_env="FROM=file\n",
    )
    (folder / "lib" / "conf").mkdir()
    text = (folder / "c.yml").read_text() + "\nvolumes: {named: {}}\n"
    (folder / "c.yml").write_text(text)
    project = project_of(folder)
    web = project.services["web"]
    assert [mount.source for mount in web.mounts] == ["./lib/conf", "./data", "/abs", "named", "./lib/long"]
    assert plain(web.at.get("build")) == "./lib/src"
    assert {var.name: var.value for var in web.file_environment} == {"FROM": "file"}
    found = losses_of(project)
    for path in ("version", "x-unused", "services.other", "networks.gone", "volumes.named"):
        assert found["lib/common.yml", path].outcome is Outcome.DROPPED
    assert found["lib/common.yml", "services.app.image"].outcome is Outcome.CONVERTED


def test_chains_over_files(write: Write) -> None:
    folder = write(
        c_yml="services: {web: {extends: {file: one/a.yml, service: a}}, two: {extends: web, command: x}}",
        one__a_yml="services: {a: {extends: {file: two/b.yml, service: b}, image: a:1, command: a}}",
        one__two__b_yml="services: {b: {extends: c, volumes: ['./b:/b']}, c: {image: c:1, user: '1'}}",
    )
    (folder / "one" / "two" / "b").mkdir()
    project = project_of(folder)
    web, two = project.services["web"], project.services["two"]
    assert web.image == two.image
    assert web.image
    assert web.image.value == "a:1"
    assert web.user
    assert web.user.value == "1"
    assert [mount.source for mount in two.mounts] == ["./one/two/b"]
    found = losses_of(project)
    assert "overridden by" in found["one/two/b.yml", "services.c.image"].detail
    assert found["one/a.yml", "services.a.command"].outcome is Outcome.CONVERTED  # web has it


def test_reset_and_override_of_what_is_extended(write: Write) -> None:
    folder = write(
        c_yml=(
            "services:\n  web:\n    extends: {file: b.yml, service: base}\n    ports: !reset []\n"
            "    dns: !override [9.9.9.9]\n    user: !reset\n"
        ),
        b_yml="services: {base: {image: a, ports: ['1:1'], dns: [1.1.1.1], tty: !reset true}}",
    )
    project = project_of(folder)
    web = project.services["web"]
    assert not web.ports
    assert plain(web.at.get("dns")) == ["9.9.9.9"]
    assert "tty" not in web.others
    found = losses_of(project)
    assert found["b.yml", "services.base.ports"].outcome is Outcome.DROPPED
    assert found["c.yml", "services.web.ports"].outcome is Outcome.CONVERTED


def test_a_template_without_active_profile_is_still_extended(write: Write) -> None:
    text = (
        "services:\n  base: {image: a, profiles: [never], command: x}\n"
        "  web: {extends: base, profiles: !override [on]}\n"
    )
    project = load_project([write(c_yml=text) / "c.yml"], env={"COMPOSE_PROFILES": "on"})
    assert set(project.services) == {"web"}
    found = losses_of(project)
    assert found["c.yml", "services.base.image"].outcome is Outcome.CONVERTED
    assert found["c.yml", "services.base.profiles[0]"].outcome is Outcome.DROPPED


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: {extends: a}", "c.yml:2: services.a.extends: `extends` goes round in a circle: a ("),
        ("a: {extends: b}\n  b: {extends: a}", "round in a circle: a ("),
        ("a: {extends: {file: d.yml, service: x}}", "round in a circle: a ("),
        ("a: {extends: nope}", "c.yml:2: services.a.extends: service 'nope' is not in"),
        ("abc: {image: a}\n  a: {extends: abd}", "did you mean 'abc'?"),
        (
            "a: {extends: {file: no.yml, service: b}}",
            "c.yml:2: services.a.extends.file: the extended file no.yml",
        ),
        ("a: {extends: {file: ., service: b}}", "is a folder"),
        ("a: {extends: {file: 'https://example.com/x.git', service: b}}", "is not on this machine"),
        ("a: {extends: {file: d.yml}}", "`service` is missing here"),
        ("a: {extends: [b]}", "a service's name, or a table"),
        ("a: {extends: {service: b, fil: d.yml}}", "unknown key `fil`"),
        ("a: {extends: {service: b, file: [x]}}", "a text is wanted"),
        ("a: {extends: {file: e.yml, service: b}}", "e.yml has no services"),
        ("a: {extends: {file: d.yml, service: lone}}", "network 'lost' is not defined"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(write: Write, text: str, words: str) -> None:
    folder = write(
        c_yml=f"services:\n  {text}\n",
        d_yml="services: {x: {extends: {file: c.yml, service: a}}, lone: {image: a, networks: [lost]}}",
        e_yml="networks: {}",
    )
    with pytest.raises(InputError) as caught:
        project_of(folder)
    assert words in str(caught.value)
    assert "neither `image`" not in str(caught.value)  # it is told once, at its cause
    assert caught.value.exit_code == 2


def test_a_cycle_names_its_whole_path(write: Write) -> None:
    folder = write(
        c_yml="services: {a: {extends: b}, b: {extends: {file: d.yml, service: c}}}",
        d_yml="services: {c: {extends: {file: c.yml, service: a}}}",
    )
    with pytest.raises(InputError) as caught:
        project_of(folder)
    main, other = folder / "c.yml", folder / "d.yml"
    assert f"a ({main}) -> b ({main}) -> c ({other}) -> a ({main})" in str(caught.value)


def test_duplicates_of_extended_files_count(write: Write) -> None:
    folder = write(
        c_yml="services: {web: {extends: {file: d.yml, service: x}}}",
        d_yml="services:\n  x:\n    image: a\n    image: b\n",
    )
    with pytest.raises(InputError, match=r"d\.yml:4: services\.x\.image is already at line 3"):
        project_of(folder)
    project = project_of(folder, duplicates="last")
    losses = kubernetes_bundle(project, Tiers(namespace="t"), Fit())[1]
    assert [(loss.line, loss.outcome) for loss in losses if loss.path == "services.x.image"] == [
        (3, Outcome.DROPPED),
        (4, Outcome.CONVERTED),
    ]


def test_growth_is_bounded(write: Write) -> None:
    keys = ", ".join(f"K{index}: v" for index in range(1000))
    users = "".join(f"  s{index}: {{extends: base}}\n" for index in range(1000))
    wide = f"services:\n  base: {{image: a, environment: {{{keys}}}}}\n{users}"
    long = "services:\n" + "".join(f"  s{index}: {{extends: s{index + 1}}}\n" for index in range(300))
    started = time.process_time()
    with pytest.raises(InputError, match="expand to more than"):
        project_of(write(c_yml=wide))
    with pytest.raises(InputError, match="more than 100 services extend each other"):
        project_of(write(c_yml=long + "  s300: {image: a}\n"))
    assert time.process_time() - started < 2.0


def test_what_is_not_told_of_an_extended_file_is_found(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(
        c_yml="services: {web: {extends: {file: d.yml, service: x}}}",
        d_yml="services: {x: {image: a}, y: {image: b}}",
    )
    losses_of(project_of(folder))
    monkeypatch.setattr("provisioners.compose.unused.Arrived.unused", lambda _: ())
    with pytest.raises(ProvisionError, match="lost in silence") as caught:
        losses_of(project_of(folder))
    assert "services.y.image" in str(caught.value)
