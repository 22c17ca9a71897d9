"""The open connections of a run, on one epoll."""

from __future__ import annotations

import resource
import select
from contextlib import suppress
from typing import TYPE_CHECKING

from loadtests.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadtests.endpoint import Endpoint

_EDGE = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET


class Links:
    """Opens and closes connections; `busy` are those that carry a request, the oldest first."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self.endpoints = endpoints
        self.busy: dict[int, Connection] = {}
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}
        _allow_descriptors()

    def preconnect(self, count: int) -> None:
        """Open `count` connections to each endpoint, so that the first requests need not."""
        for endpoint in self.endpoints:
            for _ in range(count if endpoint.address else 0):
                with suppress(OSError):
                    self._open(endpoint)

    def close(self) -> None:
        """Close all connections; requests that are under way are not recorded."""
        for connection in list(self._connections.values()):
            connection.close()
        self._connections.clear()
        self._epoll.close()

    def _open(self, endpoint: Endpoint) -> Connection:
        if endpoint.address is None:
            raise OSError(endpoint.unresolved or "not resolved")
        connection = Connection(endpoint)
        try:
            connection.connect(endpoint.address)
        except OSError:
            connection.close()
            raise
        self._connections[connection.fd] = connection
        self._epoll.register(connection.fd, _EDGE)
        return connection

    def _close(self, connection: Connection) -> None:
        self._connections.pop(connection.fd, None)
        connection.close()


def _allow_descriptors() -> None:
    """Let this process open as many connections as the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
