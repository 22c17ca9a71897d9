from __future__ import annotations

from pathlib import Path

import pytest

from provisioners.compose import Outcome, convert, load_project
from provisioners.compose.nodes import plain
from provisioners.errors import InputError
from tests.compose.test_extends import Write, losses_of, project_of, write

__all__ = ["write"]  # the fixture


def image_of(project: object, name: str) -> str:
    given = project.services[name].image  # type: ignore[attr-defined]
    return str(given.value)


INNER = """version: '3.8'
name: inner
x-note: 1
services:
  db:
    image: db:${TAG}-${ONLY-unset}
    volumes: [./init:/init, data:/d]
    environment: [TAG, ONLY]
    networks: [shared]
volumes: {data: {}}
networks: {shared: }
"""


def test_short_form_has_its_own_folder_and_variables(write: Write) -> None:
    folder = write(
        c_yml="include: [db/compose.yml]\nservices: {web: {image: 'web:${TAG}', depends_on: [db]}}\n",
        db__compose_yml=INNER,
    )
    (folder / ".env").write_text("TAG=outer\n")
    (folder / "db" / ".env").write_text("TAG=inner\nONLY=here\n")
    (folder / "db" / "init").mkdir()
    project = project_of(folder)
    assert project.name == folder.name
    assert image_of(project, "web") == "web:outer"
    assert image_of(project, "db") == "db:outer-here"
    db = project.services["db"]
    assert [mount.source for mount in db.mounts] == ["./db/init", "data"]
    assert {var.name: var.value for var in db.environment} == {"TAG": "outer", "ONLY": "here"}
    assert set(project.volumes) == {"data"}
    found = losses_of(project)
    assert found["c.yml", "include"].outcome is Outcome.CONVERTED
    for path in ("version", "name", "x-note"):
        assert found["db/compose.yml", path].outcome is Outcome.DROPPED
    assert found["db/compose.yml", "services.db.image"].outcome is Outcome.CONVERTED


def test_long_form(write: Write) -> None:
    folder = write(
        c_yml=(
            "include:\n  - path: [lib/a.yml, lib/b.yml]\n    project_directory: base\n"
            "    env_file: [one.env, two.env]\n"
        ),
        lib__a_yml="services: {a: {image: 'a:${X}-${Y}', volumes: ['./v:/v'], command: one, ports: ['1:1']}}",
        lib__b_yml="services: {a: {command: two, ports: ['2:2']}}",
        one_env="X=1\nY=1\n",
        two_env="Y=${X}2\n",
        base__v="",
    )
    project = project_of(folder)
    assert image_of(project, "a") == "a:1-12"
    assert [mount.source for mount in project.services["a"].mounts] == ["./base/v"]
    assert plain(project.services["a"].at.get("command")) == "two"
    assert [port.target for port in project.services["a"].ports] == [1, 2]
    assert "overridden by" in losses_of(project)["lib/a.yml", "services.a.command"].detail


def test_no_env_file_at_all(write: Write) -> None:
    folder = write(
        c_yml="include: [{path: s/i.yml, env_file: /dev/null}]",
        s__i_yml="services: {a: {image: 'a:${X-none}'}}",
    )
    (folder / "s" / ".env").write_text("X=beside\n")
    assert image_of(project_of(folder), "a") == "a:none"


def test_nested_and_met_twice(write: Write) -> None:
    folder = write(
        c_yml="include: [one/i.yml, two/i.yml]\nservices: {web: {extends: deep, command: x}}\n",
        one__i_yml="include: [../deep/d.yml]\nservices: {one: {image: a}}",
        two__i_yml=(
            "include: [../deep/d.yml]\nservices: {two: {image: b, networks: [shared]}}\nnetworks: {shared: }"
        ),
        deep__d_yml="services: {deep: {image: d, networks: [shared]}}\nnetworks: {shared: }",
    )
    project = project_of(folder)
    assert set(project.services) == {"web", "one", "two", "deep"}
    assert image_of(project, "web") == "d"
    assert len(project.sources) == 4
    losses_of(project)


def test_secrets_of_an_included_file_take_its_variables(write: Write) -> None:
    folder = write(
        c_yml="include: [s/i.yml]",
        s__i_yml="services: {a: {image: a, configs: [c]}}\nconfigs: {c: {environment: WORDS}}",
    )
    (folder / "s" / ".env").write_text("WORDS=of its own\n")
    assert project_of(folder).variables["WORDS"] == "of its own"


CONFLICT = {
    "c_yml": "include: [i.yml]\nservices:\n  a: {image: mine}\n",
    "i_yml": "services: {a: {image: theirs, command: x}, b: {image: b}}",
}


def test_a_conflict_names_both_places(write: Write) -> None:
    folder = write(**CONFLICT)
    with pytest.raises(InputError) as caught:
        project_of(folder)
    assert "c.yml:3: services.a: services.a is defined here and" in str(caught.value)
    assert f"{folder / 'i.yml'}:1" in str(caught.value)


def test_last_lays_this_file_upon_the_included_one(write: Write) -> None:
    project = project_of(write(**CONFLICT), duplicates="last")
    assert image_of(project, "a") == "mine"
    assert plain(project.services["a"].at.get("command")) == "x"
    assert "overridden by" in losses_of(project)["i.yml", "services.a.image"].detail


@pytest.mark.parametrize(
    ("include", "words"),
    [
        ("[no.yml]", "c.yml:1: include[0]: the included file no.yml is not there"),
        ("[s]", "is a folder"),
        ("['oci://example.com/x']", "is not on this machine"),
        ("[c.yml]", "`include` goes round in a circle"),
        ("[s/round.yml]", "round.yml -> "),
        ("i.yml", "a list of files is wanted"),
        ("[{project_directory: s}]", "`path` is missing"),
        ("[{path: s/i.yml, project_directory: no}]", "the folder no is not there"),
        ("[{path: s/i.yml, env_file: no.env}]", "the env file no.env is not there"),
        ("[{path: s/i.yml, foo: 1}]", "unknown key `foo`"),
        ("[{path: {a: b}}]", "a file's name, or a list of them"),
        ("[s/broken.yml]", "not YAML"),
        ("[s/list.yml]", "a compose file is a table"),
        ("[s/bad.yml]", "s/bad.yml:2: services.x.ulimits"),
        ("[s/unset.yml]", "s/unset.yml:1: services.x.image: GONE is required: say it"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(write: Write, include: str, words: str) -> None:
    folder = write(
        c_yml=f"include: {include}\nservices: {{a: {{image: a}}}}\n",
        s__i_yml="services: {i: {image: a}}",
        s__round_yml="include: [../c.yml]",
        s__broken_yml="a: [",
        s__list_yml="[a]",
        s__bad_yml="services:\n  x: {image: a, ulimits: 5}\n",
        s__unset_yml="services: {x: {image: '${GONE:?say it}'}}",
    )
    with pytest.raises(InputError) as caught:
        project_of(folder)
    assert words in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_deep_diamond_ends_soon(write: Write) -> None:
    texts = {f"i{index}_yml": f"include: [i{index + 1}.yml, i{index + 1}.yml]" for index in range(25)}
    folder = write(c_yml="include: [i0.yml, i0.yml]", i25_yml="services: {a: {image: a}}", **texts)
    assert set(project_of(folder).services) == {"a"}
    texts = {f"i{index}_yml": f"include: [i{index + 1}.yml]" for index in range(60)}
    folder = write(c_yml="include: [i0.yml]", i60_yml="services: {a: {image: a}}", **texts)
    with pytest.raises(InputError, match="32 levels deep"):
        project_of(folder)


def test_a_second_file_includes_too(write: Write) -> None:
    folder = write(
        c_yml="services: {a: {image: a}}",
        d_yml="include: [i.yml]\nservices: {a: {command: x}}",
        i_yml="services: {b: {image: b}}",
    )
    project = load_project([folder / "c.yml", Path(folder / "d.yml")], env={})
    assert set(project.services) == {"a", "b"}
    losses_of(project)


def test_one_name_twice_in_an_included_list_is_accounted_for(tmp_path: Path) -> None:
    (tmp_path / "inc.yml").write_text(
        "services:\n  inner:\n    image: nginx\n    environment:\n    - a0=\n    - a0=\n"
    )
    (tmp_path / "c.yml").write_text("include: [inc.yml]\nservices:\n  web: {image: nginx}\n")
    result = convert([tmp_path / "c.yml"], tmp_path / "out", {})
    lost = [loss for loss in result.losses if loss.path == "services.inner.environment[0]"]
    assert [str(loss.outcome) for loss in lost] == ["dropped"]
