"""Names of renamed services in texts: followed where they mean a host, else left and said so."""

import pytest
import yaml

from provisioners.compose import Fit, kubernetes_bundle
from provisioners.compose.following import follow_text, follow_value, follow_words
from provisioners.tiers import Tiers
from tests.compose.conftest import Load

NAMES = {"github_v2": "github-v2", "user_db": "user-db"}


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("URL", "http://github_v2:8000/github_v2", "http://github-v2:8000/github_v2"),
        ("DATABASE_URL", "postgres://u:p@user_db:5432/user_db", "postgres://u:p@user-db:5432/user_db"),
        ("GITHUB_HOST", "github_v2", "github-v2"),
        ("BROKERS", "github_v2:9092,user_db:9092", "github-v2:9092,user-db:9092"),
        ("SEEDS", "github_v2, user_db", "github-v2, user-db"),
        ("DSN", "host=user_db port=5432 dbname=user_db", "host=user-db port=5432 dbname=user_db"),
        ("UPSTREAM", "github_v2", "github-v2"),
    ],
)
def test_hosts_in_variables_are_followed(name: str, value: str, wanted: str) -> None:
    assert follow_value(name, value, NAMES).text == wanted


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("POSTGRES_DB", "user_db"),
        ("OTEL_SERVICE_NAME", "github_v2"),
        ("IMAGE", "github_v2:2025"),
        ("RUNNER_IMAGE", "registry.example.com/github_v2:1.2"),
        ("GREETING", "ask github_v2 about it"),
        ("DATA", "/srv/github_v2/data"),
        ("CONFIG", "./github_v2.yml"),
        ("OTHER", "my-github_v2:80"),
        ("LONGER", "http://github_v22:80"),
        ("MAIL", "github_v2.example.com"),
        ("VERSIONED", "github_v2:10.2"),
    ],
)
def test_other_words_in_variables_are_left(name: str, value: str) -> None:
    assert follow_value(name, value, NAMES).text == value


def test_what_is_left_is_told() -> None:
    assert follow_value("GREETING", "ask github_v2 about it", NAMES).left == ("github_v2",)
    assert follow_value("DATA", "/srv/github_v2/data", NAMES).left == ()
    assert follow_value("GITHUB_HOST", "github_v2", NAMES).left == ()


def test_commands() -> None:
    words = (
        "serve", "--host=github_v2", "--db-host", "user_db", "github_v2:8000", "http://github_v2/x",
        "github_v2", "/data/github_v2", "say github_v2 well", "example/github_v2:1.2",
        "psql -h user_db -d user_db",
    )  # fmt: skip
    found, left = follow_words(words, NAMES)
    assert found == (
        "serve", "--host=github-v2", "--db-host", "user-db", "github-v2:8000", "http://github-v2/x",
        "github_v2", "/data/github_v2", "say github_v2 well", "example/github_v2:1.2",
        "psql -h user-db -d user_db",
    )  # fmt: skip
    assert left == ("github_v2", "user_db")


def test_contents() -> None:
    text = (
        "upstream user_db { server user_db:5432; }\nproxy_pass http://user_db;\n"
        "proxy_pass http://github_v2:80/;\n# github_v2 is nice\nhost: github_v2\npath: /etc/github_v2\n"
        '{"hostname": "github_v2"}\n'
    )
    done = follow_text(text, NAMES)
    assert done.text == (
        "upstream user_db { server user-db:5432; }\nproxy_pass http://user_db;\n"
        "proxy_pass http://github-v2:80/;\n# github_v2 is nice\nhost: github-v2\npath: /etc/github_v2\n"
        '{"hostname": "github-v2"}\n'
    )
    assert done.left == ("github_v2",)


def test_a_project_follows_in_configs_commands_and_checks_and_tells_what_stays(load: Load) -> None:
    project = load(
        "services:\n  github_v2: {image: x, expose: ['80']}\n"
        "  web:\n    image: x\n    command: [run, --host=github_v2, github_v2]\n"
        "    healthcheck: {test: [CMD, probe, 'github_v2:80']}\n    configs: [one]\n"
        "    environment: {A_DB: github_v2}\n"
        "configs: {one: {content: 'api http://github_v2:80 github_v2'}}\n"
    )
    bundle, losses = kubernetes_bundle(project, Tiers(namespace="test"), Fit())
    items = [item for text in bundle.files.values() for item in yaml.load_all(text, Loader=yaml.CSafeLoader)]
    (data,) = [item["data"] for item in items if item["kind"] == "ConfigMap"]
    assert data == {"one": "api http://github-v2:80 github_v2"}
    (pod,) = [
        item["spec"]["template"]["spec"]
        for item in items
        if item["kind"] == "Deployment" and item["metadata"]["name"] == "web"
    ]
    box = pod["containers"][0]
    assert box["args"] == ["run", "--host=github-v2", "github_v2"]
    assert box["livenessProbe"]["exec"]["command"] == ["probe", "github-v2:80"]
    by_path = {loss.path: loss for loss in losses}
    for path in ("services.web.command", "services.web.configs[0]", "services.web.environment.A_DB"):
        assert by_path[path].outcome == "approximated"
        assert "github_v2 in it stays" in by_path[path].detail
