"""Reads a plain YAML file of ours (config, tiers, inventory) with the strict reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioners.compose.nodes import plain
from provisioners.compose.reader import duplicates_error, read_file

if TYPE_CHECKING:
    from pathlib import Path


def load_yaml(path: Path) -> object:
    """Return the file as plain data, scalars by YAML 1.2.

    Raises:
        InputError: it is missing, no YAML, past the bounds, or has duplicate keys.
    """
    document = read_file(path)
    if document.duplicates:
        raise duplicates_error(document.duplicates)
    return plain(document.root)
