"""The stack file as it is deployed: secrets and configs by content, our labels, the rest untouched.

Swarm never changes a secret or config in place, so each is named by its content: a changed
one is a new one, an unchanged one stays, and deploying twice changes nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provisioners.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioners.base import Bundle

RUN_LABEL = "gonogo"


@dataclass(frozen=True, slots=True)
class Stack:
    """What goes to the manager: the stack file, its config files, its secrets by full name."""

    text: str
    files: Mapping[str, bytes]
    secrets: Mapping[str, bytes]
    configs: tuple[str, ...]
    services: tuple[str, ...]


def prepare_stack(bundle: Bundle, stack: str, run_id: str) -> Stack:
    """Return the bundle's stack file made ready to deploy; raises InputError where it cannot be."""
    import yaml

    where, document = _stack_document(bundle)
    secrets = _secrets(document, bundle, stack, where)
    files, configs = _configs(document, bundle, stack, where)
    for service in document["services"].values():
        deploy = service.get("deploy") or {}
        service["deploy"] = {**deploy, "labels": {**_labels(deploy.get("labels")), RUN_LABEL: run_id}}
    # a volume's labels are part of each task: the run's id there would restart every database on each run
    for kind, mark in (("networks", run_id), ("volumes", stack)):
        for name, body in (document.get(kind) or {}).items():
            if not (body or {}).get("external"):
                labels = {**_labels((body or {}).get("labels")), RUN_LABEL: mark}
                document[kind][name] = {**(body or {}), "labels": labels}
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1000)
    return Stack(text, files, secrets, configs, tuple(document["services"]))


def _stack_document(bundle: Bundle) -> tuple[str, dict[str, Any]]:
    import yaml

    found: list[tuple[str, dict[str, Any]]] = []
    for name, text in sorted(bundle.files.items()):
        if name.endswith((".yml", ".yaml")):
            try:
                document = yaml.safe_load(text)
            except yaml.YAMLError as error:
                raise InputError("not a stack file", where=name, why=str(error)) from error
            if isinstance(document, dict) and isinstance(document.get("services"), dict):
                found.append((name, document))
    if len(found) != 1 or not found[0][1]["services"]:
        raise InputError(
            f"a Swarm bundle needs exactly one stack file, this one has {len(found)}",
            where=", ".join(name for name, _ in found) or "the bundle",
            why="a stack file has services at its top",
        )
    return found[0]


def _secrets(document: dict[str, Any], bundle: Bundle, stack: str, where: str) -> dict[str, bytes]:
    values = {}
    for name, body in (document.get("secrets") or {}).items():
        if name in bundle.secrets:
            full = f"{stack}_{name}-{_secret_id(bundle.secrets[name], name)}"
            document["secrets"][name] = {"external": True, "name": full}
            values[full] = bundle.secrets[name]
        elif not (body or {}).get("external"):
            raise InputError(
                f"no value for secret {name}",
                where=where,
                why="the stack file declares it and the bundle holds no value",
            )
    return values


def _configs(
    document: dict[str, Any], bundle: Bundle, stack: str, where: str
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    files, names = {}, []
    for name, body in (document.get("configs") or {}).items():
        path = str((body or {}).get("file", "")).removeprefix("./")
        if (body or {}).get("external"):
            continue
        if path not in bundle.files:
            raise InputError(
                f"config {name} has no content", where=where, why=f"no file {path!r} in the bundle"
            )
        content = bundle.files[path].encode()
        full = f"{stack}_{name}-{_content_id(content)}"
        document["configs"][name] = {"file": f"./{full}", "name": full}
        files[full] = content
        names.append(full)
    return files, tuple(names)


def _content_id(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _secret_id(value: bytes, name: str) -> str:
    # names are readable by whoever may list secrets: a slow hash, so that none is guessed from its name
    return hashlib.scrypt(value, salt=name.encode(), n=2**13, r=8, p=1, dklen=6).hex()


def _labels(given: object) -> dict[str, Any]:
    """Return labels as a mapping; a compose file may give a list of `key=value`."""
    if isinstance(given, list):
        return {key: value for key, _, value in (str(item).partition("=") for item in given)}
    return dict(given) if isinstance(given, dict) else {}
