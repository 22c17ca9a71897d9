from pathlib import Path

import pytest

from provisioners.compose import Project, load_project
from provisioners.compose.nodes import plain
from provisioners.errors import InputError
from tests.compose.conftest import SAMPLES, Load

HEAD = "services:\n  web:\n    image: nginx:1\n"


def values(project: Project, service: str = "web") -> dict[str, str | None]:
    return {var.name: var.value for var in project.services[service].environment}


def test_the_sample_has_everything(sample: Project) -> None:
    assert len(sample.services) == 21
    web = sample.services["github-v2"]
    assert web.image
    assert web.image.value == "registry.example.com/sophia/sophia-github-v2:1.0.0"
    assert web.deploy.restart.delay_s
    assert web.deploy.restart.delay_s.at.line == 6
    assert values(sample, "lambda-labs-cli")["REDIS_URL"] == "redis://redis:6379"
    assert sample.services["net-probe"].is_global
    assert not sample.unset


def test_the_copy_of_the_sample_is_complete() -> None:
    text = (SAMPLES / "docker-compose-mcp-orchestrator.yml").read_bytes()
    assert text.count(b"image:") == 13
    assert text.endswith(b"driver: local ")


def test_environment_wins_over_env_files(tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_text("services: {web: {image: 'a:${TAG}-${X}'}}")
    (tmp_path / ".env").write_text("TAG=beside\nX=1\n")
    (tmp_path / "other.env").write_text("TAG=file\nX=2\n")

    def image(**options: object) -> str:
        project = load_project([tmp_path / "c.yml"], **options)  # type: ignore[arg-type]
        given = project.services["web"].image
        assert given
        return given.value

    assert image(env={}) == "a:beside-1"
    assert image(env={}, env_files=[tmp_path / "other.env"]) == "a:file-2"
    assert image(env={"TAG": "shell"}) == "a:shell-1"


def test_environment_forms(load: Load) -> None:
    text = HEAD + "    environment: {A: on, B: 0644, C: true, D: , E: '', F: 1.50}\n"
    assert values(load(text, env={"D": "passed"})) == {
        "A": "on",
        "B": "0644",
        "C": "true",
        "D": "passed",
        "E": "",
        "F": "1.50",
    }
    text = HEAD + "    environment: [A=1, B, 'C=x=y', A=2]\n"
    project = load(text, env={})
    assert values(project) == {"A": "2", "B": None, "C": "x=y"}
    assert [item.node.path for item in project.overridden] == ["services.web.environment[0]"]


def test_env_file(load: Load, tmp_path: Path) -> None:
    (tmp_path / "web.env").write_text("A=file\nB=file\n")
    project = load(HEAD + "    env_file: web.env\n    environment: [B=own]\n")
    assert {var.name: var.value for var in project.services["web"].file_environment} == {
        "A": "file",
        "B": "file",
    }
    with pytest.raises(InputError, match=r"env file absent\.env is not there"):
        load(HEAD + "    env_file: absent.env\n")
    load(HEAD + "    env_file: [{path: absent.env, required: false}]\n")


def test_merging_rules(load: Load) -> None:
    base = HEAD + (
        "    command: [a, b]\n    environment: [A=1, B=2]\n    ports: ['80:80', '443:443']\n"
        "    volumes: ['data:/data', './x:/x']\n    networks: [one]\n    dns: [1.1.1.1]\n"
        "    healthcheck: {test: [CMD, a], interval: 30s}\n    labels: {k: v}\n"
        "networks: {one: {}, two: {}}\nvolumes: {data: {}, other: {}}\n"
    )
    over = (
        "services:\n  web:\n    image: nginx:2\n    command: c\n    environment: {B: 3, C: 4}\n"
        "    ports: ['443:443', '81:81']\n    volumes: ['other:/data']\n    networks: {two: {aliases: [w]}}\n"
        "    dns: [1.1.1.1, 8.8.8.8]\n    healthcheck: {test: [CMD, b]}\n    labels: [k=w]\n"
        "  new: {image: x}\n"
    )
    project = load(base, over)
    web = project.services["web"]
    assert plain(web.at.get("command")) == "c"
    assert values(project) == {"A": "1", "B": "3", "C": "4"}
    assert [port.target for port in web.ports] == [80, 443, 81]
    assert [(mount.source, mount.target) for mount in web.mounts] == [("other", "/data"), ("./x", "/x")]
    assert [ref.name for ref in web.networks] == ["one", "two"]
    assert plain(web.at.get("dns")) == ["1.1.1.1", "8.8.8.8"]
    assert web.healthcheck
    assert web.healthcheck.test
    assert web.healthcheck.test.value == ("b",)
    assert web.healthcheck.interval_s
    assert [(var.name, var.value) for var in web.labels] == [("k", "w")]
    assert "new" in project.services


def test_reset_and_override(load: Load) -> None:
    base = HEAD + "    ports: ['80:80']\n    command: a\n    dns: [1.1.1.1]\n"
    over = "services:\n  web:\n    ports: !reset []\n    command: !reset null\n    dns: !override [9.9.9.9]\n"
    web = load(base, over).services["web"]
    assert not web.ports
    assert web.command is None
    assert plain(web.at.get("dns")) == ["9.9.9.9"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "a compose file is a table"),
        ("web: {image: a}", "unknown key `web`"),
        ("services: {}", "there are no services"),
        ("services: []", "there are no services"),
        ("services: {web: }", "the service is empty"),
        ("services: {web: {}}", "neither `image` nor `build`"),
        ("services: {web: {image: a, deploi: {}}}", "did you mean `deploy`?"),
        ("services: {web: {image: a, replicas: 2}}", "it belongs under `deploy`"),
        ("services: {web: {image: a, deploy: {replicas: two}}}", "'two' is no number"),
        ("services: {web: {image: a, deploy: {mode: globl}}}", "is not one of global"),
        ("services: {web: {image: a, deploy: {resources: {limits: {cpus: lots}}}}}", "no number of CPUs"),
        ("services: {web: {image: a, deploy: {resources: {limits: {memory: lots}}}}}", "no size"),
        ("services: {web: {image: a, ports: ['99999:1']}}", "no port"),
        ("services: {web: {image: a, ports: [{published: 1}]}}", "no `target`"),
        ("services: {web: {image: a, volumes: ['a:b']}}", "no absolute path"),
        ("services: {web: {image: a, volumes: ['a:/b']}}", "volume 'a' is not defined"),
        ("services: {web: {image: a, secrets: [s]}}", "secret 's' is not defined"),
        ("services: {web: {image: a, configs: [c]}}", "config 'c' is not defined"),
        ("services: {web: {image: a, networks: [n]}}", "network 'n' is not defined"),
        ("services: {web: {image: a, depends_on: [d]}}", "service 'd' is not defined"),
        ("services: {web: {image: a, healthcheck: {test: [curl, x]}}}", "begins with CMD"),
        ("services: {web: {image: a, healthcheck: {interval: 30}}}", "no duration"),
        ('services: {web: {image: a, command: "\'"}}', "cannot be split"),
        ("services: {web: {image: a, environment: {A: [1]}}}", "a text is wanted"),
        ("services: {web: {image: 'a b'}}", "no image name"),
        ("services: {web: {image: a, extends: {service: b}}}", "`extends` is not read yet"),
        ("include: [a.yml]\nservices: {web: {image: a}}", "`include` is not read yet"),
        ("services: {web: {image: a}}\nsecrets: {s: {}}", "needs `file`"),
        ("services: {web: {image: a}}\nnetworks: {n: {drivr: x}}", "did you mean `driver`?"),
    ],
)
def test_problems_name_file_line_and_fix(load: Load, text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        load(text)
    assert words in str(caught.value)
    assert "compose-0.yml" in str(caught.value)
    assert caught.value.exit_code == 2


def test_all_problems_at_once(load: Load) -> None:
    text = (
        "services:\n  a: {image: x, deploi: {}}\n  b: {ports: [x]}\n"
        "  c: {image: '${NO}/x:${TAG:?set the tag}'}\n"
    )
    with pytest.raises(InputError) as caught:
        load(text)
    assert "4 problems" in str(caught.value)
    assert "compose-0.yml:4: services.c.image: TAG is required: set the tag" in str(caught.value)


def test_an_unset_variable_in_an_image_is_named(load: Load) -> None:
    with pytest.raises(InputError, match="DOCKER_REGISTRY not set"):
        load("services: {web: {image: '${DOCKER_REGISTRY}/x:1'}}")


def test_duplicates(load: Load) -> None:
    text = HEAD + "    image: nginx:2\n    ports: ['1:1']\n    ports: ['2:2']\n"
    with pytest.raises(InputError, match="2 duplicate keys"):
        load(text)
    project = load(text, duplicates="last")
    assert [port.target for port in project.services["web"].ports] == [2]
    assert len(project.duplicates) == 2


def test_last_mends_what_can_be_read(load: Load) -> None:
    text = HEAD + (
        "    networks: [lost]\n    deploy:\n      resources:\n        generic_resources:\n"
        "          - discrete_resource_spec: {kind: NVIDIA-GPU, value: 1}\n"
        "        reservations: {memory: 1G}\n"
    )
    with pytest.raises(InputError) as caught:
        load(text)
    assert "it belongs under `reservations`" in str(caught.value)
    assert "network 'lost' is not defined" in str(caught.value)
    project = load(text, duplicates="last")
    gpus = project.services["web"].deploy.reservations.gpus
    assert gpus
    assert gpus.value == 1
    assert len(project.mended) == 2


def test_profiles(load: Load) -> None:
    text = HEAD + "  debug: {image: d, profiles: [debug]}\n  user: {image: u, depends_on: [debug]}\n"
    assert set(load(text).services) == {"web", "user"}
    assert set(load(text, env={"COMPOSE_PROFILES": "debug"}).services) == {"web", "debug", "user"}


def test_no_files() -> None:
    with pytest.raises(InputError, match="no compose file"):
        load_project([], env={})
    with pytest.raises(InputError, match="no such file"):
        load_project([Path("/nowhere/compose.yml")], env={})
