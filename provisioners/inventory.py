"""The inventory: a YAML list of hosts, as an operator writes it and the lab does.

```yaml
- name: node1
  address: 192.0.2.11
  user: root
  key_file: ~/.ssh/id_ed25519
  known_hosts: ~/.ssh/known_hosts
  control_plane: true
  labels: {instance-role: production}
  gpus: 1
```
All problems of a file are reported at once, each with the entry it is in.
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from provisioners.base import Node
from provisioners.errors import InputError
from provisioners.shell import Ssh

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_KEYS = (
    "name",
    "address",
    "port",
    "user",
    "key_file",
    "known_hosts",
    "control_plane",
    "labels",
    "gpus",
)
_MAX_PORT = 65535


def read_inventory(path: Path, *, control_dir: Path | None = None) -> tuple[Node, ...]:
    """Return the nodes of the file, in its order; raises InputError naming every problem.

    Relative paths are taken from the folder of the file. `control_dir` holds shared SSH connections.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8-sig")
        data = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(
            "inventory cannot be read",
            where=str(path),
            why=str(error),
            next_step="write a YAML list of hosts",
        ) from error
    if not isinstance(data, list) or not data:
        raise InputError(
            "inventory is not a list of hosts", where=str(path), next_step=f"keys: {', '.join(_KEYS)}"
        )
    problems: list[str] = []
    nodes = [_node(entry, i, path, control_dir, problems) for i, entry in enumerate(data)]
    found = tuple(node for node in nodes if node)
    for word, values in (("name", [n.name for n in found]), ("address", [n.address for n in found])):
        problems += [
            f"{word} {value!r} is given twice" for value in sorted({v for v in values if values.count(v) > 1})
        ]
    if problems:
        raise InputError("inventory has problems", where=str(path), why="; ".join(problems))
    return found


def write_inventory(path: Path, nodes: Sequence[Node]) -> None:
    """Write the nodes so that `read_inventory` returns them; mode 0600, replaced in one go."""
    import yaml

    entries = [_entry(node) for node in nodes]
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.touch(mode=0o600)
    fresh.write_text(yaml.safe_dump(entries, sort_keys=False), encoding="utf-8")
    fresh.replace(path)


def _entry(node: Node) -> dict[str, object]:
    ssh = node.ssh
    return {
        "name": node.name,
        "address": ssh.address,
        "port": ssh.port,
        "user": ssh.user,
        "key_file": str(ssh.key_file) if ssh.key_file else None,
        "known_hosts": str(ssh.known_hosts) if ssh.known_hosts else None,
        "control_plane": node.control_plane,
        "labels": dict(node.labels),
        "gpus": node.gpus,
    }


def _node(
    entry: object, index: int, path: Path, control_dir: Path | None, problems: list[str]
) -> Node | None:
    where = f"entry {index + 1}"
    if not isinstance(entry, dict):
        problems.append(f"{where} is not a mapping")
        return None
    name = entry.get("name")
    where = f"host {name!r}" if name else where
    count = len(problems)
    for key in entry:
        if key not in _KEYS:
            near = get_close_matches(str(key), _KEYS, n=1)
            problems.append(
                f"{where}: unknown key {key!r}" + (f", did you mean {near[0]!r}?" if near else "")
            )
    reader = _Entry(entry, where, problems)
    node = Node(
        name=reader.text("name"),
        ssh=Ssh(
            host=reader.text("name"),
            address=reader.text("address"),
            port=reader.number("port", 22, _MAX_PORT),
            user=reader.text("user", "root"),
            key_file=reader.path("key_file", path.parent),
            known_hosts=reader.path("known_hosts", path.parent),
            control_dir=control_dir,
        ),
        control_plane=reader.flag("control_plane"),
        labels=reader.labels("labels"),
        gpus=reader.number("gpus", 0, 64),
        index=index,
    )
    return node if len(problems) == count else None


class _Entry:
    """One host's mapping, read key by key; what is wrong goes to `problems`."""

    def __init__(self, data: Mapping[object, object], where: str, problems: list[str]) -> None:
        self._data = data
        self._where = where
        self._problems = problems

    def _wrong(self, key: str, wanted: str) -> None:
        text = f"{self._where}: {key} must be {wanted}, not {self._data.get(key)!r}"
        if text not in self._problems:
            self._problems.append(text)

    def text(self, key: str, default: str | None = None) -> str:
        value = self._data.get(key, default)
        if not isinstance(value, str) or not value.strip() or value.startswith("-"):
            self._wrong(key, "a text")
            return ""
        return value

    def number(self, key: str, default: int, most: int) -> int:
        value = self._data.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            self._wrong(key, f"a number from 0 to {most}")
            return default
        return value

    def flag(self, key: str) -> bool:
        value = self._data.get(key, False)
        if not isinstance(value, bool):
            self._wrong(key, "true or false")
            return False
        return value

    def path(self, key: str, base: Path) -> Path | None:
        value = self._data.get(key)
        if value is None:
            return None
        if not isinstance(value, str):
            self._wrong(key, "a path")
            return None
        return base / Path(value).expanduser()

    def labels(self, key: str) -> dict[str, str]:
        value = self._data.get(key) or {}
        if not isinstance(value, dict) or not all(isinstance(v, str) for pair in value.items() for v in pair):
            self._wrong(key, "a mapping of texts")
            return {}
        return {str(k): str(v) for k, v in value.items()}
