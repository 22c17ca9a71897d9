"""The production file made to run in the lab: the file as it is, an overlay, and the config that fits it.

Its images are not to be had, so each program is stood in for by name: the four of our own and the two
web servers by the reference server, PostgreSQL and Redis by the lab's. The files that it mounts and that
nobody gave us are written here. What belongs to a program and not to a service (its check, its ports
below 1024) is in the overlay.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

REAL = Path(__file__).resolve().parent / "compose" / "files" / "real" / "docker-compose-production.yml"
NAMESPACE = "sophia-ai"
SERVER = "gonogo/mcp-playwright"  # a server that calls no other
PORTS = {
    "sophia-backend": 8000,
    "sophia-unified-chat": 8001,
    "sophia-dashboard": 3000,
    "mcp-gateway": 8080,
    "nginx": 8088,
    "traefik": 8080,
}
SERVICES = {*PORTS, "postgres", "redis"}
OVERLAY = """# The reference server in the place of two programs: their own checks are not in its image, and
# it runs as nobody, so it listens above 1024.
services:
  nginx:
    ports: !override ["8088:8088"]
    healthcheck:
      test: ["CMD", "curl", "-f", "http://localhost:8088/health"]
  traefik:
    healthcheck:
      test: ["CMD", "curl", "-f", "http://localhost:8080/health"]
"""
FILES = {
    "configs/nginx.conf": "events {}\nhttp {}\n",
    "configs/ssl/tls.crt": "not a certificate\n",
    "configs/ssl/tls.key": "not a key\n",
    "configs/postgres-init.sql": "SELECT 1;\n",
}


def production_config(folder: Path, kind: str = "lab") -> Path:
    """Write everything that the production file needs into a folder; return the config's path."""
    shutil.copy(REAL, folder / "production.yml")
    written = {**FILES, "overlay.yml": OVERLAY, "tiers.yaml": f"namespace: {NAMESPACE}\n"}
    written["config.yaml"] = yaml.safe_dump(config_table(kind), sort_keys=False)
    for name, text in written.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / "config.yaml"


def config_table(kind: str) -> dict[str, Any]:
    """Return the config: one scale map, and a substitute by name for every image."""
    server = {"image": SERVER, "command": ["python3", "-m", "mcp_server"]}
    return {
        "target": {"kind": kind},
        "compose": ["production.yml", "overlay.yml"],
        "tiers": "tiers.yaml",
        "substitutes": {
            **{name: {**server, "environment": {"PORT": str(port)}} for name, port in PORTS.items()},
            "postgres": {"image": "gonogo/postgres"},
            "redis": {"image": "gonogo/redis"},
        },
        "scale": {"replicas": 1, "cpus": 0.25, "memory": "192M", "pin": True, "health_interval_s": 600},
        "ready_timeout_s": 300,
    }
