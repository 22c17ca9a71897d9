"""Traefik's labels of a service, versions 2 and 3, as what its Ingress needs.

They stand under `labels` (Docker) or `deploy.labels` (Swarm). Each label ends in the ledger.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provisioners.compose.naming import legal
from provisioners.compose.rules import Route, RuleError, routes_of
from provisioners.compose.scalars import as_bool

if TYPE_CHECKING:
    from provisioners.compose.losses import Ledger
    from provisioners.compose.model import EnvVar, Service
    from provisioners.compose.nodes import Node

PREFIX = "traefik."
ANNOTATION = "traefik.ingress.kubernetes.io"
_ROUTER = re.compile(r"traefik\.http\.routers\.([^.]+)\.(.+)\Z", re.IGNORECASE)
_SERVICE = re.compile(r"traefik\.http\.services\.([^.]+)\.(?:loadbalancer)\.(.+)\Z", re.IGNORECASE)
_MIDDLEWARE = re.compile(r"traefik\.http\.middlewares\.([^.]+)\.", re.IGNORECASE)
_HIGHEST_PORT = 65535
_OURS = re.compile(r"@(?:docker|swarm)\Z")
_WHERE = "the cluster's Traefik reads Ingresses, not the labels of containers"


@dataclass(slots=True)
class Router:
    """One router as its labels describe it: what it matches, and how it is served."""

    name: str
    at: Node | None = None
    routes: tuple[Route, ...] = ()
    service: str = ""
    tls: bool = False
    port: int | None = None
    annotations: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Traefik:
    """What all labels of one service say: routers in the file's order, notes for the Service object."""

    routers: tuple[Router, ...] = ()
    service_annotations: dict[str, str] = field(default_factory=dict)


def is_traefik(var: EnvVar) -> bool:
    """Return whether a label is one of Traefik's."""
    return var.name.lower().startswith(PREFIX)


def read_labels(service: Service, namespace: str, target: str, ledger: Ledger) -> Traefik:
    """Return what the labels of a service say, and account for every one of Traefik's."""
    labels = [var for var in (*service.labels, *service.deploy.labels) if is_traefik(var)]
    values = {var.name.lower(): var.value or "" for var in labels}
    if as_bool(values.get("traefik.enable", "true")) is False:
        for var in labels:
            ledger.dropped(var.at, "traefik.enable is false: nothing is routed to the service")
        return Traefik()
    reader = _Reader(namespace, target, ledger)
    for var in labels:
        reader.read(var)
    return reader.result()


class _Reader:
    """Collects labels into routers; one that cannot be said leaves its router out."""

    def __init__(self, namespace: str, target: str, ledger: Ledger) -> None:
        self._namespace = namespace
        self._target = target
        self._ledger = ledger
        self._routers: dict[str, Router] = {}
        self._ports: dict[str, int] = {}
        self._notes: dict[str, str] = {}

    def read(self, var: EnvVar) -> None:
        if match := _ROUTER.match(var.name):
            router = self._routers.setdefault(match[1], Router(match[1]))
            self._router(router, match[2].lower(), var)
        elif match := _SERVICE.match(var.name):
            self._service(match[1], match[2].lower(), var)
        elif match := _MIDDLEWARE.match(var.name):
            name = f"{self._namespace}-{legal(match[1])}@kubernetescrd"
            self._ledger.approximated(
                var.at,
                f"write it as Middleware/{legal(match[1])} (traefik.io/v1alpha1) in {self._namespace}; the "
                f"routers name it as {name} and answer 404 until it is there",
                f"annotation {ANNOTATION}/router.middlewares",
            )
        elif var.name.lower().startswith(("traefik.tcp.", "traefik.udp.")):
            self._ledger.refused(
                var.at, "an Ingress is for HTTP: publish the port, or use Traefik's IngressRouteTCP"
            )
        elif var.name.lower().startswith(("traefik.frontend.", "traefik.port", "traefik.backend")):
            self._ledger.refused(var.at, "a label of Traefik 1: write it as traefik.http.routers.NAME.rule")
        elif var.name.lower() == "traefik.enable":
            self._ledger.converted(var.at, self._target)
        else:
            self._ledger.dropped(var.at, _WHERE)

    def _router(self, router: Router, key: str, var: EnvVar) -> None:
        value = (var.value or "").strip()
        if key == "rule":
            self._rule(router, value, var)
        elif key == "entrypoints":
            router.tls = router.tls or value.lower() == "websecure"
            self._annotate(router, "entrypoints", value, var, "entry points of these names have to be there")
        elif key == "tls":
            router.tls = as_bool(value) is True
            self._annotate(router, "tls", str(router.tls).lower(), var, "")
        elif key.startswith("tls."):
            router.tls = True
            router.annotations.setdefault(f"{ANNOTATION}/router.tls", "true")
            if key in {"tls.certresolver", "tls.options"}:
                self._annotate(router, key, value, var, "one of that name has to be in the cluster's Traefik")
            else:
                self._ledger.approximated(
                    var.at, "the certificate of the Ingress decides for which hosts", "tls"
                )
        elif key == "priority":
            self._annotate(router, "priority", value, var, "")
        elif key == "middlewares":
            names = [_OURS.sub("", name.strip()) for name in value.split(",") if name.strip()]
            full = [
                name if "@" in name else f"{self._namespace}-{legal(name)}@kubernetescrd" for name in names
            ]
            why = "each Middleware has to be made first; until then the router answers 404, which is safe"
            self._annotate(router, "middlewares", ",".join(full), var, why)
        elif key == "service":
            router.service = _OURS.sub("", value)
            self._ledger.converted(var.at, self._target)
        else:
            self._ledger.dropped(var.at, _WHERE)

    def _rule(self, router: Router, value: str, var: EnvVar) -> None:
        try:
            router.routes, notes = routes_of(value)
        except RuleError as error:
            self._ledger.refused(var.at, f"{error}")
            return
        router.at = var.at
        if notes:
            self._ledger.approximated(var.at, "; ".join(notes), self._target)
        else:
            self._ledger.converted(var.at, self._target)

    def _annotate(self, router: Router, key: str, value: str, var: EnvVar, why: str) -> None:
        name = f"{ANNOTATION}/router.{key}"
        router.annotations[name] = value
        if why:
            self._ledger.approximated(var.at, why, f"annotation {name}")
        else:
            self._ledger.converted(var.at, f"annotation {name}")

    def _service(self, name: str, key: str, var: EnvVar) -> None:
        value = (var.value or "").strip()
        if key == "server.port":
            if not value.isdigit() or not 0 < int(value) <= _HIGHEST_PORT:
                self._ledger.refused(var.at, f"{value!r} is no port")
                return
            self._ports[name] = int(value)
            self._ledger.converted(var.at, f"{self._target} backend port {value}")
        elif key in {"server.scheme", "passhostheader", "serverstransport"} or key.startswith("sticky"):
            known = {"server.scheme": "serversscheme", "sticky": "sticky.cookie"}
            note = f"{ANNOTATION}/service.{known.get(key, key)}"
            self._notes[note] = "true" if key == "sticky" else value
            self._ledger.converted(var.at, f"annotation {note} of the Service")
        elif key.startswith("healthcheck."):
            self._ledger.dropped(var.at, "the readiness of the pods decides which of them get requests")
        else:
            self._ledger.dropped(var.at, _WHERE)

    def result(self) -> Traefik:
        """Return the routers that have a rule; each has the port of its service, or of the only one."""
        only = next(iter(self._ports.values())) if len(self._ports) == 1 else None
        routers = []
        for router in self._routers.values():
            router.port = self._ports.get(router.service or router.name, only)
            if router.routes:
                routers.append(router)
        return Traefik(tuple(routers), self._notes)
