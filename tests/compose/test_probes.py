import pytest

from provisioners.compose.model import HealthCheck
from provisioners.compose.probes import Check, check_of, probes_of
from tests.compose.conftest import Load


def health(load: Load, body: str) -> HealthCheck:
    found = load(f"services:\n  web:\n    image: a\n    healthcheck: {body}\n").services["web"].healthcheck
    assert found
    return found


@pytest.mark.parametrize(
    ("test", "check"),
    [
        ('["CMD", "curl", "-f", "http://localhost:9006/health"]', Check(path="/health", port=9006)),
        ('["CMD-SHELL", "curl -fsS http://127.0.0.1:80/ || exit 1"]', Check(path="/", port=80)),
        (
            '["CMD-SHELL", "wget -qO- http://localhost/x?y=1 > /dev/null 2>&1 || exit 1"]',
            Check(path="/x?y=1", port=80),
        ),
        ('["CMD", "wget", "--spider", "-q", "localhost:3000"]', Check(path="/", port=3000)),
        (
            '["CMD", "curl", "-k", "--max-time", "3", "https://localhost/h"]',
            Check(path="/h", port=443, scheme="HTTPS"),
        ),
        ('"curl -f http://localhost:1/"', Check(path="/", port=1)),
        ('["CMD", "redis-cli", "ping"]', Check(argv=("redis-cli", "ping"))),
        ('["CMD-SHELL", "pg_isready -U x"]', Check(argv=("/bin/sh", "-c", "pg_isready -U x"))),
        ('["CMD", "curl", "-f", "http://other:80/"]', Check(argv=("curl", "-f", "http://other:80/"))),
        (
            '["CMD", "curl", "-X", "POST", "http://localhost/"]',
            Check(argv=("curl", "-X", "POST", "http://localhost/")),
        ),
        ('["CMD", "curl", "-f", "http://["]', Check(argv=("curl", "-f", "http://["))),
        (
            '["CMD-SHELL", "curl http://localhost/ | grep ok"]',
            Check(argv=("/bin/sh", "-c", "curl http://localhost/ | grep ok")),
        ),
    ],
)
def test_what_is_asked(load: Load, test: str, check: Check) -> None:
    assert check_of(health(load, f"{{test: {test}}}")) == check


def test_times(load: Load) -> None:
    body = (
        "{test: [CMD, curl, -f, 'http://localhost:80/health'], interval: 30s, timeout: 10s, "
        "retries: 3, start_period: 40s}"
    )
    probes = probes_of(health(load, body), {80: "http"})
    get = {"httpGet": {"path": "/health", "port": "http"}}
    steady = {**get, "periodSeconds": 30, "timeoutSeconds": 10, "failureThreshold": 3}
    assert probes == {
        "startupProbe": {**get, "periodSeconds": 5, "timeoutSeconds": 10, "failureThreshold": 26},
        "readinessProbe": steady,
        "livenessProbe": steady,
    }


def test_a_readiness_check_restarts_nothing(load: Load) -> None:
    probes = probes_of(health(load, "{test: [CMD, curl, -f, 'http://localhost:80/ready']}"), {})
    assert set(probes) == {"startupProbe", "readinessProbe"}


@pytest.mark.parametrize("body", ["{disable: true}", "{test: [NONE]}", "{interval: 3s}"])
def test_no_check(load: Load, body: str) -> None:
    assert not health(load, body).active
