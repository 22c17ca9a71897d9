"""Realistic compose files of any size, the same text for the same seed.

Services have what services of real files have: images by tag, environment with variables and
values that YAML 1.1 would misread, a published port, a health check, labels, a shared logging
block by anchor, and `deploy` in full; some have volumes, secrets, a command and dependencies.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SEED = 20260101
_DEPENDENT = 0.5

_WORDS = ("billing", "search", "ledger", "mail", "auth", "catalog", "report", "queue", "media", "profile")
_IMAGES = ("registry.example.com/shop/{}", "ghcr.io/example/{}", "example/{}")
_KEYS = (
    "LOG_FORMAT",
    "CACHE_TTL",
    "FEATURE_FLAGS",
    "REGION",
    "POOL_SIZE",
    "RETRY_LIMIT",
    "TRACE_RATIO",
    "LOCALE",
)
_VALUES = ("json", "300", "a,b,c", "eu-west-1", "20", "5", "0.1", "en_GB.UTF-8", "on", "22:22", "0644")


def compose_text(services: int, seed: int = SEED) -> str:
    """Return a compose file of so many services; the same text for the same seed."""
    draw = random.Random(seed)
    names = [f"{draw.choice(_WORDS)}-{number:03d}" for number in range(services)]
    lines = [
        "x-logging: &logging",
        "  driver: json-file",
        "  options: {max-size: 10m, max-file: '3'}",
        "services:",
    ]
    for number, name in enumerate(names):
        lines += _service(name, number, names, draw)
    lines += ["networks:", "  inner:", "    driver: overlay", "volumes:"]
    lines += [f"  {name}-data:" for name in names[::4]]
    lines += ["secrets:"]
    for number in range(10):
        lines += [f"  key_{number}:", "    external: true"]
    return "\n".join(lines) + "\n"


def _service(name: str, number: int, names: Sequence[str], draw: random.Random) -> list[str]:
    port = 8000 + number
    image = draw.choice(_IMAGES).format(name.rpartition("-")[0])
    lines = [
        f"  {name}:",
        f"    image: {image}:{draw.randint(1, 9)}.{draw.randint(0, 20)}.{draw.randint(0, 9)}",
        "    environment:",
        f"      - PORT={port}",
        f"      - LOG_LEVEL=${{LOG_LEVEL:-{draw.choice(('info', 'debug'))}}}",
        f"      - DATABASE_URL=postgresql://db.example.com:5432/{name}",
    ]
    lines += [f"      - {key}={draw.choice(_VALUES)}" for key in draw.sample(_KEYS, draw.randint(2, 6))]
    lines += [
        "    ports:",
        f'      - "{port}:{port}"',
        "    networks: [inner]",
        "    healthcheck:",
        f'      test: ["CMD", "curl", "-f", "http://localhost:{port}/health"]',
        f"      interval: {draw.choice((10, 15, 30))}s",
        "      timeout: 5s",
        f"      retries: {draw.randint(3, 5)}",
        "      start_period: 20s",
        "    labels:",
        f'      team: "{draw.choice(_WORDS)}"',
        f'      example.com/route: "/{name}"',
        "    logging: *logging",
    ]
    if number % 4 == 0:
        lines += [
            "    volumes:",
            f"      - {name}-data:/var/lib/{name}",
            "      - type: tmpfs",
            "        target: /tmp",
        ]
    if number % 3 == 0:
        lines += ["    secrets:", f"      - key_{number % 10}"]
    if number and draw.random() < _DEPENDENT:
        lines += ["    depends_on:", f"      - {names[draw.randrange(number)]}"]
    if number % 5 == 0:
        lines += ["    command: ['serve', '--port', '" + str(port) + "', '--workers=4']"]
    return [
        *lines,
        "    deploy:",
        f"      replicas: {draw.randint(1, 4)}",
        "      resources:",
        "        limits:",
        f"          cpus: '{draw.choice((0.25, 0.5, 1.0))}'",
        f"          memory: {draw.choice((128, 256, 512))}M",
        "        reservations:",
        "          cpus: '0.1'",
        "          memory: 64M",
        "      restart_policy:",
        "        condition: on-failure",
        "        delay: 5s",
        "        max_attempts: 3",
        "      update_config:",
        "        parallelism: 1",
        "        order: start-first",
        "        failure_action: rollback",
    ]
