"""The one door to a Kubernetes API server: the official client, opened lazily, spoken to in JSON.

The official client reads the kubeconfig and owns TLS, proxies and credentials; requests go
through its connection pool as plain JSON, because decoding its seven hundred model classes
costs more than everything asked of them here. Typed results are in `kube_objects`.

KubeError                      6  the API server answered with an error, or not at all
401 and 403 are TargetRefused  4  with the rule that is missing
"""

from __future__ import annotations

import concurrent.futures
import functools
import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlencode

from provisioners.errors import ProvisionError, TargetRefused
from provisioners.shell import CommandResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

Object = dict[str, Any]

FIELD_MANAGER = "gonogo"
_PAGE = 500  # as kubectl asks
_TRIES = 4
_SLOW_DOWN = 429
_GONE = 410
_NOT_FOUND = 404
_REFUSED = (401, 403)
_CONNECT_S = 10.0
_WEBSOCKET_S = 30.0
_NOT_EXECUTABLE = 126  # what docker exec says of a program that is not in the container


class KubeError(ProvisionError):
    """The API server answered with an error; `status` is the HTTP status, 0 for no answer."""

    def __init__(self, what: str, *, status: int, where: str, why: str, next_step: str = "") -> None:
        self.status = status
        super().__init__(what, where=where, why=why, next_step=next_step)


class WatchExpired(Exception):
    """The resource version is too old to watch from; list again."""


@dataclass(frozen=True, slots=True)
class Event:
    """One change seen by a watch: ADDED, MODIFIED, DELETED or BOOKMARK, and the object after it."""

    type: str
    object: Object


@dataclass(frozen=True, slots=True)
class Listing:
    """All objects of one list request, and the resource version to watch from."""

    items: tuple[Object, ...]
    resource_version: str


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list as its reader decoded it; `more` is the token of the next, empty on the last."""

    rows: Sequence[Any]
    more: str
    resource_version: str


@dataclass(frozen=True, slots=True)
class Resource:
    """Where objects of one kind live in the API."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """Return the URL path of the collection, or of one object."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        middle = f"/namespaces/{quote(namespace)}" if self.namespaced and namespace else ""
        return f"{root}{middle}/{self.plural}" + (f"/{quote(name)}" if name else "")


def open_kube(kubeconfig: Path, context: str | None = None) -> Kube:
    """Return this process's one client for a kubeconfig and context; a rewritten file is a new one."""
    written_ns = kubeconfig.stat().st_mtime_ns if kubeconfig.exists() else 0
    return _open(kubeconfig, context, written_ns)


@functools.lru_cache(maxsize=8)
def _open(kubeconfig: Path, context: str | None, _written_ns: int) -> Kube:
    return Kube(kubeconfig, context)


class Kube:
    """One API server, reached with one kubeconfig. Safe to use from several threads."""

    def __init__(self, kubeconfig: Path, context: str | None = None) -> None:
        self.kubeconfig = kubeconfig
        self.context = context
        self._resources: dict[tuple[str, str], Resource] = {}

    @functools.cached_property
    def _client(self) -> Any:
        from kubernetes import config
        from kubernetes.client import Configuration

        settings = Configuration()
        settings.connection_pool_maxsize = 16
        load: Any = config.new_client_from_config  # the client has no types
        try:
            return load(
                str(self.kubeconfig),
                context=self.context,
                client_configuration=settings,
                persist_config=False,
            )
        except (config.ConfigException, OSError, ValueError, TypeError) as error:
            raise TargetRefused(
                "the kubeconfig cannot be used",
                where=str(self.kubeconfig),
                why=str(error),
                next_step="check it with `kubectl --kubeconfig FILE config view`",
            ) from error

    @property
    def server(self) -> str:
        """Return the URL of the API server."""
        return str(self._client.configuration.host)

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Object | None:
        """Return one object, or None when there is none."""
        try:
            return _object(self._request("GET", path, query))
        except KubeError as error:
            if error.status == _NOT_FOUND:
                return None
            raise

    def list_all(self, path: str, *, labels: str = "", fields: str = "") -> Listing:
        """Return all objects of a collection, page by page; empty when the kind is unknown."""
        rows, version = self.list_pages(path, _read_page, None, labels=labels, fields=fields)
        return Listing(tuple(rows), version)

    def list_pages(
        self,
        path: str,
        read: Callable[[bytes], Page],
        convert: Callable[[Any], Any] | None,
        *,
        labels: str = "",
        fields: str = "",
    ) -> tuple[list[Any], str]:
        """Return all rows of a collection and the version to watch from; empty when the kind is unknown.

        `read` decodes a page's bytes and raises ValueError where they are none; each row then
        goes through `convert`, while the next page is on its way. Where the list went stale
        between two pages it is read again from its start, once.
        """
        query = {"limit": str(_PAGE)}
        query |= {"labelSelector": labels} if labels else {}
        query |= {"fieldSelector": fields} if fields else {}
        try:
            return self._pages(path, query, read, convert)
        except KubeError as error:
            if error.status != _GONE:
                raise
            return self._pages(path, query, read, convert)

    def _pages(
        self,
        path: str,
        query: Mapping[str, str],
        read: Callable[[bytes], Page],
        convert: Callable[[Any], Any] | None,
    ) -> tuple[list[Any], str]:
        rows: list[Any] = []
        page = self._page(path, query, read)
        with _Ahead() as ahead:
            while True:
                if page.more:
                    ahead.start(self._page, path, {**query, "continue": page.more}, read)
                rows += map(convert, page.rows) if convert else page.rows
                if not page.more:
                    return rows, page.resource_version
                page = ahead.result()

    def _page(self, path: str, query: Mapping[str, str], read: Callable[[bytes], Page]) -> Page:
        try:
            return read(self._request("GET", path, query))
        except KubeError as error:
            if error.status == _NOT_FOUND:
                return Page((), "", "")
            raise
        except ValueError as error:
            raise KubeError(
                f"GET {path} was not answered with a list", status=0, where=self.server, why=str(error)
            ) from error

    def apply(self, path: str, body: Object, *, dry_run: bool = False) -> Object:
        """Server-side apply one object and return it as it is now; conflicts are taken over.

        With `dry_run` the server checks it strictly (an unknown field is an error) and keeps nothing.
        """
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        query |= {"dryRun": "All", "fieldValidation": "Strict"} if dry_run else {}
        return _object(
            self._request(
                "PATCH",
                path,
                query,
                body=json.dumps(body).encode(),
                content_type="application/apply-patch+yaml",
            )
        )

    def patch(self, path: str, body: Object) -> Object:
        """Merge-patch one object and return it as it is now."""
        return _object(
            self._request(
                "PATCH",
                path,
                {"fieldManager": FIELD_MANAGER},
                body=json.dumps(body).encode(),
                content_type="application/merge-patch+json",
            )
        )

    def create(self, path: str, body: Object) -> Object:
        """Create one object in a collection (or a sub-resource, such as an eviction)."""
        return _object(self._request("POST", path, None, body=json.dumps(body).encode()))

    def delete(self, path: str, *, grace_s: int | None = None) -> bool:
        """Delete one object and, in the background, what it owns; False when there was none."""
        body: Object = {"propagationPolicy": "Background"}
        body |= {} if grace_s is None else {"gracePeriodSeconds": grace_s}
        try:
            self._request("DELETE", path, None, body=json.dumps(body).encode())
        except KubeError as error:
            if error.status == _NOT_FOUND:
                return False
            raise
        return True

    def text(self, path: str, query: Mapping[str, str] | None = None) -> str:
        """Return a plain-text answer, such as a pod's log."""
        return self._request("GET", path, query).decode("utf-8", "backslashreplace")

    def watch(
        self, path: str, resource_version: str, timeout_s: float, *, labels: str = "", fields: str = ""
    ) -> Iterator[Event]:
        """Yield changes since `resource_version` for at most `timeout_s` seconds.

        Raises WatchExpired when the server no longer knows that version.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(max(1, int(timeout_s))),
        }
        query |= {"labelSelector": labels} if labels else {}
        query |= {"fieldSelector": fields} if fields else {}
        response = self._send("GET", path, query, None, "", timeout_s + 5)
        try:
            if response.status == _GONE:
                raise WatchExpired
            if response.status >= 400:  # noqa: PLR2004 - HTTP's own border
                raise self._error("GET", path, response.status, response.data)
            yield from _events(response)
        finally:
            response.close()
            response.release_conn()

    def resource(self, api_version: str, kind: str) -> Resource:
        """Return where objects of a kind live; asks the server's discovery once a group."""
        key = (api_version, kind)
        if key not in self._resources:
            root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
            found = (self.get(root) or {}).get("resources", [])
            for row in found:
                if "/" not in row["name"]:
                    self._resources[api_version, row["kind"]] = Resource(
                        api_version, row["kind"], row["name"], bool(row["namespaced"])
                    )
        try:
            return self._resources[key]
        except KeyError:
            raise KubeError(
                f"the cluster knows no {kind} in {api_version}",
                status=_NOT_FOUND,
                where=self.server,
                why="its API does not serve that kind",
                next_step="install the custom resource definition, or remove the object",
            ) from None

    def log(
        self, namespace: str, pod: str, *, lines: int, container: str = "", previous: bool = False
    ) -> str:
        """Return the last lines of a container's log; empty when it has none yet."""
        query = {"tailLines": str(lines), "limitBytes": str(256 * 1024)}
        query |= {"container": container} if container else {}
        query |= {"previous": "true"} if previous else {}
        try:
            return self.text(f"/api/v1/namespaces/{namespace}/pods/{pod}/log", query)
        except KubeError as error:
            if error.status in {400, _NOT_FOUND}:  # 400: the container has not started
                return ""
            raise

    def exec(
        self, namespace: str, pod: str, container: str, argv: Sequence[str], timeout_s: float
    ) -> CommandResult:
        """Run a command in a container; returncode None when no status came back in time."""
        started = time.monotonic()
        host = f"pod {namespace}/{pod}"
        try:
            out, err, status = self._exec(namespace, pod, container, list(argv), timeout_s)
        except _exec_failures() as error:
            return CommandResult(tuple(argv), host, None, "", str(error), time.monotonic() - started)
        returncode, note = parse_exec_status(status)
        stderr = err.decode("utf-8", "backslashreplace") + (f"{note}\n" if note else "")
        stdout = out.decode("utf-8", "backslashreplace")
        return CommandResult(tuple(argv), host, returncode, stdout, stderr, time.monotonic() - started)

    def _exec(
        self, namespace: str, pod: str, container: str, argv: list[str], timeout_s: float
    ) -> tuple[bytes, bytes, bytes]:
        import websocket
        from kubernetes.client import ApiClient, CoreV1Api
        from kubernetes.stream import stream

        websocket.setdefaulttimeout(_WEBSOCKET_S)  # else a dead kubelet holds the connect for ever
        deadline = time.monotonic() + timeout_s
        channel = stream(
            # a client of its own: `stream` swaps the client's methods while it runs
            CoreV1Api(ApiClient(self._client.configuration)).connect_get_namespaced_pod_exec,
            pod,
            namespace,
            command=argv,
            container=container,
            stdin=False,
            stdout=True,
            stderr=True,
            tty=False,
            binary=True,
            _preload_content=False,
        )
        try:
            while channel.is_open() and (left := deadline - time.monotonic()) > 0:
                channel.update(timeout=min(left, 1.0))
            finished = not channel.is_open()
            out, err, status = (channel.read_channel(number) for number in (1, 2, 3))
        finally:
            channel.close()
        return out, err, status if finished or status else b""

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        *,
        body: bytes | None = None,
        content_type: str = "application/json",
        timeout_s: float = 30.0,
    ) -> bytes:
        for attempt in range(1, _TRIES + 1):
            response = self._send(method, path, query, body, content_type, timeout_s, attempt)
            if response is None:
                continue
            data = bytes(response.data)
            if response.status < 400:  # noqa: PLR2004 - HTTP's own border
                return data
            wait_s = _retry_after(response.status, response.headers.get("Retry-After"), attempt)
            if wait_s is None or attempt == _TRIES:
                raise self._error(method, path, response.status, data)
            time.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")  # pragma: no cover

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: bytes | None,
        content_type: str,
        timeout_s: float,
        attempt: int = _TRIES,
    ) -> Any:
        """Send once; None means that a read failed on the way and may be tried again."""
        import urllib3

        url = self.server + path + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": "application/json", "User-Agent": "gonogo"}
        headers |= {"Content-Type": content_type} if body is not None else {}
        bearer = self._client.configuration.auth_settings().get("BearerToken")
        headers |= {"Authorization": bearer["value"]} if bearer and bearer["value"] else {}
        try:
            return self._client.rest_client.pool_manager.request(
                method,
                url,
                body=body,
                headers=headers,
                timeout=urllib3.Timeout(connect=_CONNECT_S, read=timeout_s),
                preload_content=False,
                retries=False,
            )
        except urllib3.exceptions.SSLError as error:
            raise self._tls_error(error) from error
        except urllib3.exceptions.HTTPError as error:
            if method in {"GET", "PATCH"} and attempt < _TRIES:  # both may be repeated safely
                time.sleep(0.2 * attempt)
                return None
            raise KubeError(
                f"no answer to {method} {path}",
                status=0,
                where=self.server,
                why=str(error),
                next_step="check that the API server runs and that this machine reaches it",
            ) from error

    def _error(self, method: str, path: str, status: int, data: bytes) -> ProvisionError:
        try:
            body = json.loads(data)
            message = str(body.get("message") or body.get("error") or "")  # the latter: Prometheus, proxied
        except (ValueError, AttributeError):
            message = data[:500].decode("utf-8", "backslashreplace")
        what = f"{method} {path} was answered {status}"
        if status in _REFUSED:
            return TargetRefused(what, where=self.server, why=message, next_step=_missing_rule(message))
        return KubeError(what, status=status, where=self.server, why=message)

    def _tls_error(self, error: Exception) -> TargetRefused:
        text = str(error)
        fix = "renew the certificate, or use the kubeconfig of this cluster"
        if "match" in text or "mismatch" in text:
            fix = "start the K3s server with `--tls-san` and this address; TLS checks stay on"
        return TargetRefused("TLS to the API server failed", where=self.server, why=text, next_step=fix)


def parse_exec_status(status: bytes) -> tuple[int | None, str]:
    """Return the exit status that the error channel of an exec holds, and its message.

    (None, message) when no exit status came back.
    """
    if not status:
        return None, "no exit status came back"
    try:
        row = json.loads(status)
    except ValueError:
        return None, status.decode("utf-8", "backslashreplace")
    if row.get("status") == "Success":
        return 0, ""
    for cause in (row.get("details") or {}).get("causes") or []:
        if cause.get("reason") == "ExitCode":
            return int(cause["message"]), ""
    message = str(row.get("message", ""))
    return (_NOT_EXECUTABLE if "executable file not found" in message else None), message


def parse_watch_line(line: bytes) -> Event:
    """Return the event on one line of a watch; raises WatchExpired for status 410."""
    row = json.loads(line)
    if row["type"] == "ERROR":
        status = row["object"]
        if status.get("code") == _GONE:
            raise WatchExpired
        raise KubeError(
            "the watch ended with an error",
            status=int(status.get("code") or 0),
            where="watch",
            why=str(status.get("message", "")),
        )
    return Event(row["type"], row["object"])


def _events(response: Any) -> Iterator[Event]:
    import urllib3

    rest = b""
    try:
        for chunk in response.stream(None, decode_content=False):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line.strip():
                    yield parse_watch_line(line)
    except (urllib3.exceptions.ProtocolError, urllib3.exceptions.TimeoutError):
        return  # a half-closed stream is an ended watch: the caller watches again from where it was


def _retry_after(status: int, header: str | None, attempt: int) -> float | None:
    """Return how long to wait before trying again, or None when trying again is no use."""
    if status != _SLOW_DOWN and status not in {500, 502, 503, 504}:
        return None
    if header and header.isdigit():
        return min(float(header), 30.0)
    return 0.3 * float(2**attempt)


_FORBIDDEN = re.compile(r'cannot (\w+) resource "([^"]+)" in API group "([^"]*)"')


def _missing_rule(message: str) -> str:
    found = _FORBIDDEN.search(message)
    if not found:
        return "use credentials that the cluster accepts"
    verb, resource, group = found.groups()
    return f'allow it by a rule: {{apiGroups: ["{group}"], resources: ["{resource}"], verbs: ["{verb}"]}}'


class _Ahead:
    """Fetches the next page in a thread, which a list of one page never starts."""

    def __init__(self) -> None:
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        self._next: concurrent.futures.Future[Page] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def start(self, ask: Callable[..., Page], *arguments: object) -> None:
        self._pool = self._pool or concurrent.futures.ThreadPoolExecutor(1)
        self._next = self._pool.submit(ask, *arguments)

    def result(self) -> Page:
        if self._next is None:
            raise RuntimeError("no page was asked for")
        return self._next.result()


def _read_page(data: bytes) -> Page:
    found = _object(data)
    meta = found.get("metadata") or {}
    return Page(found.get("items") or (), meta.get("continue") or "", str(meta.get("resourceVersion", "")))


def _object(data: bytes) -> Object:
    row = json.loads(data)
    if not isinstance(row, dict):
        raise TypeError(f"expected a JSON object, got {type(row).__name__}")
    return row


def _exec_failures() -> tuple[type[BaseException], ...]:
    import websocket
    from kubernetes.client.exceptions import ApiException

    return (ApiException, websocket.WebSocketException, OSError)
