"""Ingresses: from Traefik's labels, from nginx-proxy's variables, and, on request, a host for each HTTP port.

What is reached from outside is read before the workload is made, because a port that only a
label names has to be one of its container and its Service.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from provisioners.compose.naming import legal
from provisioners.compose.policy import is_outside
from provisioners.compose.records import dataclass
from provisioners.compose.rules import Route, RuleError, routes_of
from provisioners.compose.traefik import ANNOTATION, Router, read_labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioners.compose.context import Context
    from provisioners.compose.model import EnvVar, Service
    from provisioners.compose.nodes import Node

Object = dict[str, object]

_TRAEFIK_CLASS = "traefik"
_CERTIFICATE = (
    "the certificate goes into Secret/{secret} (kubernetes.io/tls), by hand or by cert-manager; until "
    "then the controller shows its own"
)
_TLS_VARS = ("LETSENCRYPT_HOST", "CERT_NAME")
_HIGHEST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Way:
    """One way in: the Ingress object's name, its routes and the port behind them."""

    name: str
    routes: tuple[Route, ...]
    port: int
    tls: bool = False
    class_name: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shown:
    """What of one service is shown outside, and notes that its Service object carries."""

    ways: tuple[Way, ...] = ()
    service_annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports behind its ways, each once."""
        return tuple(dict.fromkeys(way.port for way in self.ways))


@dataclass(frozen=True, slots=True)
class Entrance:
    """Reads the ways into all services of one conversion; a host and path leads to one service only."""

    context: Context
    claims: dict[Route, str] = field(default_factory=dict)

    def shown(self, service: Service, key: str, own: Sequence[int], http: int | None) -> Shown:
        """Return the ways into a service that has the TCP ports `own`; `http` is known to speak HTTP."""
        name = self.context.names[key]
        labels = read_labels(service, self.context.namespace, f"Ingress/{name}", self.context.ledger)
        ways = [
            way
            for router in labels.routers
            if (way := self._router(router, name, own, http, alone=len(labels.routers) == 1))
        ]
        ways += self._virtual(service, name, own, http, taken=bool(ways))
        if not ways:
            ways += self._published(service, name, http)
        return Shown(tuple(ways), labels.service_annotations)

    def _router(
        self, router: Router, name: str, own: Sequence[int], http: int | None, *, alone: bool
    ) -> Way | None:
        ledger = self.context.ledger
        port = router.port or _likely(own, http)
        if router.at is None:
            return None
        if port is None:
            ledger.refused(
                router.at, "no port is known: add traefik.http.services.NAME.loadbalancer.server.port"
            )
            return None
        if not self._claim(router.routes, name, router.at):
            return None
        title = name if alone else legal(f"{name}-{router.name}")
        if router.tls:
            ledger.remark(router.at, _CERTIFICATE.format(secret=f"{name}-tls"), f"Ingress/{title}")
        kind = self.context.fit.ingress_class or self.context.tiers.ingress_class or _TRAEFIK_CLASS
        return Way(title, router.routes, port, router.tls, kind, router.annotations)

    def _virtual(
        self, service: Service, name: str, own: Sequence[int], http: int | None, *, taken: bool
    ) -> list[Way]:
        """The variables by which nginx-proxy finds a container."""
        given = {var.name: var for var in (*service.file_environment, *service.environment) if var.value}
        host = given.get("VIRTUAL_HOST")
        if "VIRTUAL_HOST_MULTIPORTS" in given:
            at = given["VIRTUAL_HOST_MULTIPORTS"].at
            self.context.ledger.refused(
                at, "write one VIRTUAL_HOST with VIRTUAL_PORT, or an Ingress by a patch"
            )
        if host is None or host.value is None:
            return []
        title = f"{name}-virtual" if taken else name
        number = _number(given.get("VIRTUAL_PORT"))
        port = number or _likely(own, http) or 80
        path = given["VIRTUAL_PATH"].value if "VIRTUAL_PATH" in given else "/"
        routes: list[Route] = []
        for text in host.value.split(","):
            try:
                routes += (
                    routes_of(f"Host(`{text.strip()}`) && PathPrefix(`{path}`)")[0] if text.strip() else ()
                )
            except RuleError as error:
                self.context.ledger.refused(host.at, str(error))
                return []
        if not routes or not self._claim(routes, name, host.at):
            return []
        tls = any(var in given for var in _TLS_VARS)
        self.context.ledger.remark(
            host.at, "nginx-proxy reads it; here an Ingress does the same", f"Ingress/{title}"
        )
        for var in ("VIRTUAL_PORT", "VIRTUAL_PATH", *_TLS_VARS):
            if var in given:
                why = (
                    _CERTIFICATE.format(secret=f"{name}-tls")
                    if var in _TLS_VARS
                    else "it is in the Ingress too"
                )
                self.context.ledger.remark(given[var].at, why, f"Ingress/{title}")
        kind = self.context.fit.ingress_class or self.context.tiers.ingress_class
        return [Way(title, tuple(routes), port, tls, kind)]

    def _published(self, service: Service, name: str, http: int | None) -> list[Way]:
        """A host below the wanted domain for a published port that is known to speak HTTP."""
        fit, tiers = self.context.fit, self.context.tiers
        domain = fit.ingress_domain or tiers.ingress_domain
        ports = [
            port for port in service.ports if port.published and is_outside(port) and port.protocol == "tcp"
        ]
        wanted = next((port for port in ports if port.target == http or port.name.startswith("http")), None)
        if not domain or wanted is None:
            return []
        route = Route(f"{name}.{domain}")
        if not self._claim([route], name, wanted.at):
            return []
        self.context.ledger.remark(wanted.at, f"also as http://{route.host}", f"Ingress/{name}")
        return [Way(name, (route,), wanted.target, class_name=fit.ingress_class or tiers.ingress_class)]

    def _claim(self, routes: Sequence[Route], name: str, at: Node) -> bool:
        for route in routes:
            other = self.claims.setdefault(route, name)
            if other != name:
                self.context.ledger.refused(
                    at, f"{route.host or 'any host'}{route.path} leads to {other} already"
                )
                return False
        return True


def ingresses_of(shown: Shown, name: str, labels: Object, context: Context) -> list[Object]:
    """Return the Ingress objects of the service whose objects are called `name`."""
    return [_ingress(way, name, labels, context) for way in shown.ways]


def _ingress(way: Way, name: str, labels: Object, context: Context) -> Object:
    by_host: dict[str, list[Route]] = {}
    for route in way.routes:
        by_host.setdefault(route.host, []).append(route)
    backend = {"service": {"name": name, "port": {"number": way.port}}}
    rules: list[Object] = []
    for host, routes in by_host.items():
        paths = [
            {"path": route.path, "pathType": "Exact" if route.exact else "Prefix", "backend": backend}
            for route in routes
        ]
        http: Object = {"http": {"paths": paths}}
        rules.append({"host": host, **http} if host else http)
    spec: Object = {"ingressClassName": way.class_name} if way.class_name else {}
    annotations = dict(way.annotations)
    hosts = [host for host in by_host if host]
    if way.tls and hosts:
        spec["tls"] = [{"hosts": hosts, "secretName": f"{name}-tls"}]
        if way.class_name == _TRAEFIK_CLASS:
            annotations[f"{ANNOTATION}/router.tls"] = "true"
    metadata: Object = {"name": way.name, "namespace": context.namespace, "labels": labels}
    if annotations:
        metadata["annotations"] = annotations
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata,
        "spec": {**spec, "rules": rules},
    }


def _likely(own: Sequence[int], http: int | None) -> int | None:
    """The port that HTTP is spoken on: the one that the health check asks, or the first of the service."""
    return http if http in own else own[0] if own else http


def _number(var: EnvVar | None) -> int | None:
    text = (var.value or "") if var else ""
    return int(text) if text.isdigit() and 0 < int(text) <= _HIGHEST_PORT else None
