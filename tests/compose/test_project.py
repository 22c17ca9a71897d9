from pathlib import Path

import pytest

from provisioners.compose import Fit, Project, kubernetes_bundle, load_project
from provisioners.compose.nodes import plain
from provisioners.errors import InputError
from provisioners.tiers import Tiers
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


def test_env_files_refer_to_earlier_ones(tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_text("services: {web: {image: 'a:${TAG}'}}")
    (tmp_path / "one.env").write_text("BASE=1\nTAG=no\n")
    (tmp_path / "two.env").write_text("TAG=${BASE}.5\n")
    files = [tmp_path / "one.env", tmp_path / "two.env"]
    given = load_project([tmp_path / "c.yml"], env={}, env_files=files).services["web"].image
    assert given
    assert given.value == "a:1.5"


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


@pytest.mark.parametrize(
    ("base", "over", "key", "value"),
    [
        ("command: a", "command:", "command", None),
        ("dns: 1.1.1.1", "dns: [8.8.8.8]", "dns", ["1.1.1.1", "8.8.8.8"]),
        ("tmpfs: /a", "tmpfs: /b", "tmpfs", ["/a", "/b"]),
        ("cap_add: [A, B]", "cap_add: [B, C]", "cap_add", ["A", "B", "C"]),
        ("build: .", "build: {args: {X: '1'}}", "build", {"context": ".", "args": {"X": "1"}}),
        (
            "environment: [A=1, A=2, B=1]",
            "environment: {B: '2'}",
            "environment",
            {"A": "2", "B": "2"},
        ),
        ("environment: {A: '1'}", "environment: {A: }", "environment", {"A": None}),
        ("labels: {a: '1'}", "labels:", "labels", {"a": "1"}),
        (
            "logging: {driver: a, options: {x: y}}",
            "logging: {driver: b}",
            "logging",
            {"driver": "b"},
        ),
        (
            "logging: {driver: a, options: {x: y}}",
            "logging: {options: {z: y}}",
            "logging",
            {"driver": "a", "options": {"x": "y", "z": "y"}},
        ),
        (
            "extra_hosts: {a: 10.0.0.1}",
            "extra_hosts: ['b:10.0.0.2']",
            "extra_hosts",
            ["a=10.0.0.1", "b:10.0.0.2"],
        ),
        (
            "ports: ['80:80', '443:443']",
            "ports: [{target: 80, published: 80}]",
            "ports",
            [{"target": 80, "published": 80}, "443:443"],
        ),
        ("devices: ['/a:/x']", "devices: ['/b:/x:r']", "devices", ["/b:/x:r"]),
        ("ports: !reset []", "ports: ['1:1']", "ports", ["1:1"]),
        ("ports: ['1:1']", "ports: !reset []", "ports", None),
        ("dns: !reset 1.1.1.1", "dns: !reset []", "dns", None),
        ("user: a", "user: !reset", "user", None),
    ],
)
def test_what_merging_makes_of_a_key(load: Load, base: str, over: str, key: str, value: object) -> None:
    project = load(f"{HEAD}    {base}\n", f"services:\n  web:\n    {over}\n")
    assert plain(project.services["web"].at.get(key)) == value
    losses = kubernetes_bundle(project, Tiers(namespace="t"), Fit())[1]
    assert {Path(loss.file).name for loss in losses} == {"compose-0.yml", "compose-1.yml"}


def test_addresses_of_one_network_merge_by_subnet(load: Load) -> None:
    base = HEAD + "networks: {n: {ipam: {config: [{subnet: 10.0.0.0/24, gateway: 10.0.0.1}]}}}\n"
    over = (
        "networks: {n: {ipam: {config: [{subnet: 10.0.0.0/24, gateway: 10.0.0.2}, {subnet: 10.1.0.0/24}]}}}\n"
    )
    body = load(base, over).networks["n"].body
    assert body
    assert plain(body.get("ipam")) == {
        "config": [{"subnet": "10.0.0.0/24", "gateway": "10.0.0.2"}, {"subnet": "10.1.0.0/24"}]
    }


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
        ("web: {image: a}", "this is a file of version 1, its services (web) stand at the top level"),
        ("web: {build: .}\nx-y: {image: b}", "its services (web) stand"),
        ("web: {image: a}\nservices: {b: {image: b}}", "unknown key `web`"),
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
        ("services: {web: {image: a, depends_on: [web, web]}}", "'web' stands twice in the list"),
        ("services: {web: {image: a, networks: [default, default]}}", "'default' stands twice"),
        ("services: {web: {image: a, shm_size: lots}}", "'lots' is no size"),
        ("services: {web: {image: a, pids_limit: -2}}", "'-2' is no limit"),
        ("services: {web: {image: a, privileged: maybe}}", "neither true nor false"),
        ("services: {web: {image: a, profiles: [p]}}", "name some in COMPOSE_PROFILES"),
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


PROFILES = HEAD + (
    "  debug: {image: d, profiles: [debug]}\n  more: {image: m, profiles: [debug, more]}\n"
    "  broken: {image: 'a b', profiles: [never]}\n"
)


@pytest.mark.parametrize(
    ("profiles", "names"),
    [
        ("", {"web"}),
        ("debug", {"web", "debug", "more"}),
        ("more, other", {"web", "more"}),
        ("nothing", {"web"}),
    ],
)
def test_profiles(load: Load, profiles: str, names: set[str]) -> None:
    assert set(load(PROFILES, env={"COMPOSE_PROFILES": profiles}).services) == names


def test_profiles_from_the_env_file(load: Load, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("COMPOSE_PROFILES=more\n")
    assert set(load(PROFILES).services) == {"web", "more"}


def test_all_profiles(load: Load) -> None:
    with pytest.raises(InputError, match="'a b' is no image name"):
        load(PROFILES, env={"COMPOSE_PROFILES": "*"})


def test_who_depends_on_a_service_without_an_active_profile(load: Load) -> None:
    user = "  user: {image: u, depends_on: {debug: {condition: service_started%s}}}\n"
    with pytest.raises(InputError, match="service 'debug' has a profile that is not active"):
        load(PROFILES + user % "")
    assert "user" in load(PROFILES + user % ", required: false").services
    assert "user" in load(PROFILES + user % "", env={"COMPOSE_PROFILES": "debug"}).services
    project = load(PROFILES + user % "", duplicates="last")
    assert [given.value for given in project.mended if "goes without it" in given.value]


def test_keys_of_version_2_are_read(load: Load) -> None:
    text = (
        "version: 2.4\nservices:\n  web:\n    image: a\n    mem_limit: 1g\n    cpus: 0.5\n    scale: 2\n"
        "    volume_driver: local\n    cpu_shares: 10\n    links: [db:database]\n    volumes_from: [db]\n"
        "    network_mode: bridge\n    depends_on: {db: {condition: service_healthy}}\n"
        "    extends: {service: db}\n"
        "  db: {image: b, net: host, log_driver: syslog, log_opt: {a: b}}\n"
        "volumes: {v: {external: {name: old}}}\n"
    )
    project = load(text)
    assert project.services["web"].deploy.replicas
    assert {"mem_limit", "cpus", "volume_driver", "net"} <= set(project.services["web"].others)
    assert project.volumes["v"].external_name == "old"


def test_of_two_mounts_at_one_path_the_later_counts(load: Load) -> None:
    text = HEAD + "    volumes: ['./a:/x', {type: bind, source: ./b, target: /x}]\n"
    project = load(text)
    assert [mount.source for mount in project.services["web"].mounts] == ["./b"]
    assert [item.node.path for item in project.overridden] == ["services.web.volumes[0]"]


def test_no_files() -> None:
    with pytest.raises(InputError, match="no compose file"):
        load_project([], env={})
    with pytest.raises(InputError, match="no such file"):
        load_project([Path("/nowhere/compose.yml")], env={})
