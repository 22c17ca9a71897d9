"""Where the lab keeps what it builds (cache) and what is up now (state)."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return the folder of built binaries and images: $GONOGO_CACHE or ~/.cache/gonogo."""
    return _folder("GONOGO_CACHE", "XDG_CACHE_HOME", ".cache")


def state_dir() -> Path:
    """Return the folder of what is up now: $GONOGO_STATE or ~/.local/state/gonogo."""
    return _folder("GONOGO_STATE", "XDG_STATE_HOME", ".local/state")


def lab_dir() -> Path:
    """Return the lab's own state folder; it holds keys, so only its owner reads it."""
    folder = state_dir() / "lab"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


def _folder(own: str, standard: str, home: str) -> Path:
    if os.environ.get(own):
        return Path(os.environ[own]).absolute()
    base = os.environ.get(standard)
    return (Path(base) if base else Path.home() / home) / "gonogo"
