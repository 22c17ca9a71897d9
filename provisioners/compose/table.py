"""The conversion table, key by key: `python -m provisioners.compose.table > docs/converting.md`.

For every key that compose knows (`known.py`) a small project with that key is converted for real, and
the row is what the loss report says of it. So the table cannot say what the converter does not do.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioners.compose.emit import to_yaml
from provisioners.compose.fit import Fit
from provisioners.compose.known import KEYS
from provisioners.compose.kubernetes import kubernetes_bundle
from provisioners.compose.load import load_yaml
from provisioners.compose.losses import Outcome
from provisioners.compose.project import load_project
from provisioners.errors import InputError
from provisioners.tiers import Tiers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from provisioners.base import Bundle
    from provisioners.compose.losses import Loss

COMMAND = "python -m provisioners.compose.table > docs/converting.md"
SPECIMENS = Path(__file__).with_name("specimens.yaml")

_VARIABLES = {"SHOP_TOKEN": "not-a-real-one", "SHOP_SETTINGS": "level: info", "COMPOSE_PROFILES": "debug"}
_TIERS = Tiers(namespace="shop")
_NOT_READ = "not read"
# Tried in turn for a key of known.py that specimens.yaml does not know yet.
_PLAIN: tuple[Any, ...] = ("a", "1", True, ["a"], {"a": "b"})
_LONGEST_WORDS = 400
_SOURCES = ("content", "environment", "file", "external")

_HEAD = """# What becomes of each compose key on Kubernetes

This file is made: `{command}`. Each row is a small compose file with that key, converted for real; the
outcome and the words are those of the loss report (`losses.json`) of that conversion. A test converts
all of them again and fails when this file says something else.

- **converted**: it arrived whole.
- **approximated**: it arrived nearly; the words say how it differs.
- **dropped**: it did not arrive, and the words say why that does not matter.
- **refused**: it cannot arrive; `gonogo convert` writes the rest, names it, and ends with exit code 2.
- **not read**: the file as a whole is not accepted with it; the words say what to write instead.

What is added without being asked stands with the image of its service, or with the key that it changes:
requests where the file reserves nothing, and a wait before pods behind a Service are told to stop.

`x-` keys may stand anywhere; nothing reads them by themselves, and what aliases take from them is
accounted for where it lands. A key that has tables of its own has a section of its own below.
"""


@dataclass(frozen=True, slots=True)
class Specimen:
    """One value of one key, and the whole compose file around it; `path` is where the key stands there."""

    place: str
    key: str
    value: object
    path: str
    model: Mapping[str, object]
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one specimen."""

    specimen: Specimen
    outcome: str
    target: str
    words: str


def specimens() -> Iterator[Specimen]:
    """Yield the specimens of every known key, in the order of the table."""
    data = _data()
    for place, keys in KEYS.items():
        for key in sorted(keys):
            for value in data["keys"].get(place, {}).get(key) or _tried(place, key, data):
                yield _specimen(place, key, value, data)


def rows() -> list[Row]:
    """Convert every specimen and return what became of it."""
    return [_row(specimen) for specimen in specimens()]


def convert_specimen(specimen: Specimen) -> tuple[Bundle, tuple[Loss, ...]]:
    """Return the manifests and losses of a specimen.

    Raises:
        InputError: the reader does not accept it.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "compose.yml"
        for name, content in {**specimen.files, file.name: to_yaml(specimen.model)}.items():
            (Path(folder) / name).write_text(content, encoding="utf-8")
        return kubernetes_bundle(load_project([file], env=_VARIABLES), _TIERS, Fit())


def render(found: Sequence[Row]) -> str:
    """Return the table as Markdown."""
    parts = [_HEAD.format(command=COMMAND)]
    for place in KEYS:
        parts.append(f"\n## {_title(place)}\n")
        parts.append("| key | for example | outcome | becomes | what that means |")
        parts.append("|---|---|---|---|---|")
        own = [row for row in found if row.specimen.place == place]
        parts += [
            f"| `{row.specimen.key}` | {_code(row.specimen.value)} | {row.outcome} | {_cell(row.target)} | "
            f"{_cell(row.words)} |"
            for row in own
        ]
    return "\n".join(parts) + "\n"


def _data() -> dict[str, Any]:
    found = load_yaml(SPECIMENS)
    if not isinstance(found, dict):
        raise InputError("the specimens are no table", where=str(SPECIMENS))
    return found


# -- a specimen ----------------------------------------------------------------------------------


def _specimen(place: str, key: str, value: object, data: Mapping[str, Any]) -> Specimen:
    """Return the project around a key: the base, what its place needs, and the key itself."""
    model = json.loads(json.dumps(data["base"]))  # a copy that may be changed
    given = data["places"].get(place, {})
    at = given.get("at", "")
    if place and not at:
        raise InputError(f"no specimen has the place {place}", where=str(SPECIMENS), next_step="add it there")
    model["services"]["web"].update(json.loads(json.dumps(given.get("beside", {}))))
    table = _reach(model, at)
    if not place:
        table.pop(key, None)
    else:
        table.update(given.get("with", {}))
    sourced = table if key in _SOURCES and place in {"secrets.*", "configs.*"} else {}
    if place.endswith(".external"):
        sourced = _reach(model, at.rpartition(".")[0])
    for other in _SOURCES:  # a secret or config comes from one of them
        if sourced.get(other) is not table:
            sourced.pop(other, None)
    table[key] = value
    return Specimen(place, key, value, f"{at}.{key}" if at else key, model, data["files"])


def _reach(model: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the table at a path such as `services.web.ports[0]`, made where it is missing."""
    node: Any = model
    for step in path.split(".") if path else ():
        name, listed, _ = step.partition("[")
        held = node.setdefault(name, [{}] if listed else {})
        if listed:
            node = held[0]
        else:
            if not isinstance(held, dict):
                held = node[name] = {}
            node = held
    found: dict[str, Any] = node
    return found


def _tried(place: str, key: str, data: Mapping[str, Any]) -> list[object]:
    """Return the first plain value that the reader takes for a key, else the first one."""
    for value in _PLAIN:
        try:
            convert_specimen(_specimen(place, key, value, data))
        except InputError:
            continue
        return [value]
    return [_PLAIN[0]]


# -- a row ---------------------------------------------------------------------------------------


def _row(specimen: Specimen) -> Row:
    try:
        _, losses = convert_specimen(specimen)
    except InputError as error:
        return Row(specimen, _NOT_READ, "", _without_place(error.why or error.what))
    found = _about(specimen.path, losses)
    outcome = max((loss.outcome for loss in found), key=tuple(Outcome).index)
    targets = dict.fromkeys(loss.target for loss in found if loss.target)
    details = dict.fromkeys(loss.detail for loss in found if loss.detail)
    return Row(specimen, outcome.value, ", ".join(targets), _without_folder("; ".join(details)))


def _about(path: str, losses: Sequence[Loss]) -> list[Loss]:
    """Return what was said of a path or below it, else of the nearest table that holds it."""
    own = [loss for loss in losses if loss.path == path or loss.path.startswith((f"{path}.", f"{path}["))]
    while not own and path:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
        own = [loss for loss in losses if loss.path == path]
    if not own:
        raise LookupError(f"nothing was said of {path}")
    return own


def _without_place(text: str) -> str:
    """Return the words of an error without the file and line of the specimen."""
    lines = (line.strip() for line in text.splitlines())
    words = [line.partition(" ")[2] if line.split(" ")[0].count(":") > 1 else line for line in lines]
    return _without_folder("; ".join(words))


def _without_folder(text: str) -> str:
    """Return words without the folder of the specimen, which has another name each time."""
    base = tempfile.gettempdir()
    words = [word.rpartition("/")[2] if base in word else word for word in text.split(" ")]
    return " ".join(words)[:_LONGEST_WORDS]


# -- Markdown ------------------------------------------------------------------------------------


def _title(place: str) -> str:
    if not place:
        return "The file itself"
    return f"`{place.replace('services.*', 'services.NAME').replace('.*', '.NAME')}`"


def _code(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    quote = "``" if "`" in text else "`"
    return f"{quote}{text}{quote}".replace("|", "\\|")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("\n", " ")


if __name__ == "__main__":
    sys.stdout.write(render(rows()))
