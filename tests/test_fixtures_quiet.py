"""fixtures.quiet: a quiet check runs alone, others side by side, and nobody waits for ever."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from fixtures.quiet import turn

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("cluster.json", "workload.json"):
        (tmp_path / name).touch()
    return tmp_path


def test_others_run_side_by_side(folder: Path) -> None:
    with turn(folder, alone=False), turn(folder, alone=False, wait_s=0.1):
        pass


def test_quiet_waits_for_others_and_others_for_it(folder: Path) -> None:
    with turn(folder, alone=False), pytest.raises(TimeoutError), turn(folder, alone=True, wait_s=0.05):
        pass
    with turn(folder, alone=True), pytest.raises(TimeoutError), turn(folder, alone=False, wait_s=0.05):
        pass
    with turn(folder, alone=True), pytest.raises(TimeoutError), turn(folder, alone=True, wait_s=0.05):
        pass


def test_a_waiting_quiet_check_lets_no_new_one_in(folder: Path) -> None:
    order: list[str] = []

    def quiet() -> None:
        with turn(folder, alone=True, wait_s=5):
            order.append("quiet")

    def other() -> None:
        with turn(folder, alone=False, wait_s=5):
            order.append("other")

    with turn(folder, alone=False):
        threads = [threading.Thread(target=quiet), threading.Thread(target=other)]
        for thread in threads:
            thread.start()
            time.sleep(0.1)
        assert order == []
    for thread in threads:
        thread.join(5)
    assert order == ["quiet", "other"]
