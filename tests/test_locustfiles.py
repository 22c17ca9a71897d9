"""Every locustfile of ours runs under plain `locust -f`, as a person starts it, and serves what it asks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.tools import free_port, server, wait_for_port
from loadtests.sample import ErrorKind, read_samples
from tests.test_load_workers import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.live

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(
    path.stem
    for path in (ROOT / "loadtests").glob("*.py")
    if "import PlannedShape, PlannedUser" in path.read_text("utf-8")
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    port = free_port()
    with server([sys.executable, "-m", "benchmarks.delay_server", "--port", str(port)], cwd=ROOT):
        wait_for_port(port)
        yield f"http://127.0.0.1:{port}"


def test_there_are_nine():
    assert len(FILES) == 9, FILES


@pytest.mark.parametrize("name", FILES)
def test_it_runs_headless_and_every_request_is_served(name, url, tmp_path):
    done = plain(tmp_path / "load", name, url)
    assert done.returncode == 0, done.stderr
    rows = read_samples(tmp_path / "load" / "requests.bin")
    assert len(rows) in range(40, 81), "extended where windows were lost"
    assert set(rows["error"]) == {ErrorKind.NONE}
