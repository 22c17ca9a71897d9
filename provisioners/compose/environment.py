"""Environment of a service as Kubernetes writes it: values, fields of the pod, and secrets.

`$(NAME)` means something to Kubernetes, so it is escaped; Swarm's `{{.Node.Hostname}}` and the
like become fields of the pod; a password in plain sight moves to a Secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provisioners.compose.naming import followed, secret_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioners.compose.losses import Ledger
    from provisioners.compose.model import EnvVar, Service

Object = dict[str, object]

_SECRET_NAME = re.compile(
    r"(?:^|_)(?:PASSWORD|PASSWD|PASS|SECRET|TOKEN|API_?KEY|PRIVATE_?KEY|ACCESS_?KEY|CREDENTIALS?|PWD|AUTH_?KEY)(?:_|$)",
    re.IGNORECASE,
)
_NO_VALUE = re.compile(
    r"(?:_FILE|_PATH|_DIR|_URL|_NAME|_ID|_TTL|_ENABLED|_TYPE|_LENGTH|_MAX|_MIN|_EXPIRY)\Z", re.IGNORECASE
)
_URL_PASSWORD = re.compile(r"://[^/\s:@]*:[^/\s@]+@")
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
    """The `env` of a container, and the secret values that it refers to."""

    entries: list[Object] = field(default_factory=list)
    secrets: dict[str, bytes] = field(default_factory=dict)


def is_secret(name: str, value: str) -> bool:
    """Return whether a variable holds something that must not be read by whoever reads manifests."""
    if not value or value.startswith(("/", "{{")):
        return False
    if _URL_PASSWORD.search(value):
        return True
    return bool(_SECRET_NAME.search(name)) and not _NO_VALUE.search(name)


def escaped(text: str) -> str:
    """Return text in which Kubernetes replaces nothing: `$(` is written `$$(`."""
    return text.replace("$(", "$$(")


def environment_of(
    service: Service, name: str, extra: Mapping[str, str], renamed: Mapping[str, str], ledger: Ledger
) -> Environment:
    """Return the environment of the service whose objects are called `name`."""
    found = Environment()
    given = {var.name: var for var in (*service.file_environment, *service.environment)}
    for var in given.values():
        _enter(var, service, name, renamed, ledger, found)
    for key, value in extra.items():
        found.entries.append({"name": key, "value": escaped(value)})
    _note_overridden(service, given, ledger)
    _note_files(service, ledger)
    return found


def _enter(
    var: EnvVar, service: Service, name: str, renamed: Mapping[str, str], ledger: Ledger, found: Environment
) -> None:
    target = f"env {var.name}"
    from_file = any(var is other for other in service.file_environment)
    if var.value is None:
        if not from_file:
            ledger.dropped(var.at, f"{var.name} has no value here, so compose does not set it either")
        return
    value = followed(var.value, renamed)
    if is_secret(var.name, value):
        key = _ILLEGAL_KEY.sub("-", f"{name}-{var.name}")
        found.secrets[key] = value.encode()
        reference = {"secretKeyRef": {"name": secret_object(key), "key": key}}
        found.entries.append({"name": var.name, "valueFrom": reference})
        if not from_file:
            ledger.approximated(
                var.at, "a secret in plain sight: moved to a Secret", f"Secret/{secret_object(key)}"
            )
        return
    if "{{" in value:
        _template(var, value, service, ledger, found)
        return
    found.entries.append({"name": var.name, "value": escaped(value)})
    if not from_file:
        detail = "follows renamed services" if value != var.value else ""
        ledger.converted(var.at, target, detail)


def _template(var: EnvVar, value: str, service: Service, ledger: Ledger, found: Environment) -> None:
    """Swarm's template of a value: whole ones become a field, others refer to helper variables."""
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
        helper = f"{var.name}_{len(helpers)}"
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
