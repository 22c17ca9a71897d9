"""The pytest plugin of the launcher: hands suites the store's recorder, typed in the model.

Loaded by `-p verbs.recorder` in the controller and in every xdist worker; the store's
writes are safe between processes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fixtures.cutover_gate import Rule
    from reports.model import Recorder

_stores: dict[str, Recorder] = {}


def pytest_gonogo_recorder(config: Any) -> Recorder | None:
    """Return the recorder of the run folder given by --gonogo-run."""
    folder = config.getoption("--gonogo-run", default=None)
    if not folder:
        return None
    key = str(folder)
    if key not in _stores:
        from reports.store import open_run

        store = open_run(Path(key))
        secrets = os.environ.get("GONOGO_SECRETS_FILE")
        if secrets and Path(secrets).exists():
            store.add_secrets_file(Path(secrets))
        _stores[key] = store
    return _stores[key]


def pytest_gonogo_gate_rule(config: Any) -> Rule | None:
    """Return the rule by which a rehearsal's gates are judged."""
    from verbs.cutover import pytest_gonogo_gate_rule as answered

    return answered(config)
