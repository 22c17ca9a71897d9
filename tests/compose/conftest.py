"""What tests of the converter share: projects from text, and the sample input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provisioners.compose import Fit, Project, Substitute, load_project
from provisioners.tiers import Tiers, load_tiers

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "fixtures" / "manifests"
INPUT = (SAMPLES / "docker-compose-mcp-orchestrator.yml", SAMPLES / "overlay.yml")

Load = Callable[..., Project]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Return a function that loads compose texts, later ones over earlier ones."""

    def load_texts(*texts: str, env: dict[str, str] | None = None, **options: Any) -> Project:
        files = []
        for index, text in enumerate(texts):
            path = tmp_path / f"compose-{index}.yml"
            path.write_text(text, encoding="utf-8")
            files.append(path)
        return load_project(files, env=env or {}, **options)

    return load_texts


@pytest.fixture(scope="session")
def password(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secret") / "postgres_password"
    path.write_text("correct horse battery staple")
    return path


@pytest.fixture(scope="session")
def sample(password: Path) -> Project:
    """The lab's input: the orchestrator file and the overlay."""
    return load_project(
        INPUT, env={"POSTGRES_PASSWORD_FILE": str(password)}, env_files=[SAMPLES / ".env.example"]
    )


@pytest.fixture(scope="session")
def tiers() -> Tiers:
    return load_tiers(SAMPLES / "tiers.yaml")


@pytest.fixture(scope="session")
def lab_fit() -> Fit:
    return Fit(
        images={"*/sophia-*": "gonogo/mcp-{service}", "gonogo/*": "gonogo/{service}"},
        substitutes={"redis": Substitute("gonogo/redis"), "postgres": Substitute("gonogo/postgres")},
        replicas=1,
        cpus=0.5,
        memory="256M",
        pin_nodes=("node1", "node2", "node3"),
        entry="node",
    )
