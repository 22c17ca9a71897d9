"""Environment of a service as Kubernetes writes it: values, fields of the pod, and secrets.

`$(NAME)` means something to Kubernetes, so it is escaped; Swarm's `{{.Node.Hostname}}` and the
like become fields of the pod; a password in plain sight moves to a Secret.
"""

from __future__ import annotations

import re
from dataclasses import field
from typing import TYPE_CHECKING

from provisioners.compose.following import follow_value
from provisioners.compose.naming import secret_object
from provisioners.compose.records import dataclass
from provisioners.compose.secrecy import is_secret, mentions
from provisioners.compose.validate_names import variable_name
from provisioners.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from provisioners.compose.losses import Ledger
    from provisioners.compose.model import EnvVar, Service

__all__ = ["Environment", "environment_of", "escaped", "is_secret", "secret_entry", "secret_key_of"]

Object = dict[str, object]

_TEMPLATE = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}")
_FIELDS = {
    ".Node.Hostname": "spec.nodeName",
    ".Node.ID": "spec.nodeName",
    ".Task.Name": "metadata.name",
    ".Task.ID": "metadata.uid",
}
_SLOT = "metadata.labels['apps.kubernetes.io/pod-index']"
_ILLEGAL_KEY = re.compile(r"[^-._a-zA-Z0-9]")


@dataclass(frozen=True, slots=True)
class Environment:
    """The `env` of a container, and the secret values that it refers to; `hidden` has them by variable."""

    entries: list[Object] = field(default_factory=list)
    secrets: dict[str, bytes] = field(default_factory=dict, repr=False)
    hidden: dict[str, str] = field(default_factory=dict, repr=False)

    def hide(self, variable: str, value: str, name: str) -> str:
        """Add a variable whose value is in a Secret; returns the Secret's name."""
        key = secret_key_of(name, variable)
        if self.secrets.get(key, value.encode()) != value.encode():
            raise InputError(
                f"two secret variables of {name} are both the key {key} of a Secret", next_step="rename one"
            )
        self.secrets[key] = value.encode()
        self.hidden[variable] = value
        self.entries.append(secret_entry(variable, key))
        return secret_object(key)


def secret_key_of(name: str, variable: str) -> str:
    """Return the key of a variable's value, among the secrets of the service with objects called `name`."""
    return _ILLEGAL_KEY.sub("-", f"{name}-{variable}")


def secret_entry(variable: str, key: str) -> Object:
    """Return a variable that takes its value from a Secret."""
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret_object(key), "key": key}}}


def escaped(text: str) -> str:
    """Return text in which Kubernetes replaces nothing: `$(` is written `$$(`."""
    return text.replace("$(", "$$(")


def environment_of(
    service: Service,
    name: str,
    extra: Mapping[str, str],
    renamed: Mapping[str, str],
    ledger: Ledger,
    known: Collection[str] = (),
) -> Environment:
    """Return the environment of the service whose objects are called `name`.

    `known` are secret values of the whole project, which other variables may repeat.
    """
    found = Environment()
    given = {var.name: var for var in (*service.file_environment, *service.environment)}
    taken = {*given, *extra}
    for var in given.values():
        if var.name in extra:
            _note_replaced(var, service, ledger)
        elif wrong := variable_name(var.name):
            node = service.at.get("env_file") if _is_of_file(var, service) else None
            ledger.refused(node or var.at, f"{wrong}: rename the variable")
        else:
            _enter(var, service, name, renamed, ledger, found, known, taken)
    for key, value in extra.items():
        if wrong := variable_name(key):
            raise InputError(f"substitutes of {service.name}: {wrong}", next_step="rename the variable")
        if is_secret(key, value) or mentions(value, known):
            found.hide(key, value, name)
        else:
            found.entries.append({"name": key, "value": escaped(value)})
    _note_overridden(service, given, ledger)
    _note_files(service, ledger)
    return found


def _enter(
    var: EnvVar,
    service: Service,
    name: str,
    renamed: Mapping[str, str],
    ledger: Ledger,
    found: Environment,
    known: Collection[str],
    taken: set[str],
) -> None:
    target = f"env {var.name}"
    from_file = _is_of_file(var, service)
    if var.value is None:
        if not from_file:
            ledger.dropped(var.at, f"{var.name} has no value here, so compose does not set it either")
        return
    followed = follow_value(var.name, var.value, renamed)
    value = followed.text
    if followed.left and not from_file:
        ledger.approximated(var.at, followed.said, target)
    if is_secret(var.name, value) or mentions(value, known):
        secret = found.hide(var.name, value, name)
        if not from_file:
            ledger.approximated(var.at, "a secret in plain sight: moved to a Secret", f"Secret/{secret}")
        return
    if "{{" in value:
        _template(var, value, service, ledger, found, taken)
        return
    found.entries.append({"name": var.name, "value": escaped(value)})
    if not from_file:
        detail = "follows renamed services" if value != var.value else ""
        ledger.converted(var.at, target, detail)


def _is_of_file(var: EnvVar, service: Service) -> bool:
    return any(var is other for other in service.file_environment)


def _note_replaced(var: EnvVar, service: Service, ledger: Ledger) -> None:
    if not _is_of_file(var, service):
        ledger.approximated(var.at, "the substitute has a value of its own, on both sides", f"env {var.name}")


def _template(
    var: EnvVar, value: str, service: Service, ledger: Ledger, found: Environment, taken: set[str]
) -> None:
    """Swarm's template of a value: whole ones become a field, others refer to helper variables.

    `taken` are the names of all variables, which those of helpers have to differ from.
    """
    helpers: list[Object] = []
    unknown: list[str] = []

    def one(match: re.Match[str]) -> str:
        word = match[1]
        if word == ".Service.Name":
            return service.name
        path = _SLOT if word == ".Task.Slot" else _FIELDS.get(word)
        if path is None:
            unknown.append(word)
            return match[0]
        number = len(helpers)
        while (helper := f"{var.name}_{number}") in taken:
            number += 1
        taken.add(helper)
        helpers.append({"name": helper, "valueFrom": {"fieldRef": {"fieldPath": path}}})
        return f"$({helper})"

    text = _TEMPLATE.sub(one, value.replace("$(", "$$("))
    if unknown:
        # other programs use the same braces: left as they are
        found.entries.append({"name": var.name, "value": escaped(value)})
        ledger.converted(var.at, f"env {var.name}", "its braces are none of Swarm's templates")
        return
    if len(helpers) == 1 and text == f"$({helpers[0]['name']})":
        found.entries.append({**helpers[0], "name": var.name})
    else:
        found.entries.extend([*helpers, {"name": var.name, "value": text}])
    ledger.approximated(var.at, "Swarm's template as fields of the pod", f"env {var.name}")


def _note_overridden(service: Service, given: Mapping[str, EnvVar], ledger: Ledger) -> None:
    for var in service.environment:
        if given[var.name] is not var:
            ledger.dropped(var.at, f"{var.name} is set again later")


def _note_files(service: Service, ledger: Ledger) -> None:
    node = service.at.get("env_file")
    if node is not None:
        ledger.approximated(node, "read now; its variables stand in the manifest, secrets in a Secret", "env")
