"""One request to each side before any load: a URL that cannot be compared says so at once.

A redirect is another URL, an error page is no answer, and a body that never ends would
only fill the generator with time-outs. What a server does now and then is left to the
load to count: a side passes if one of three requests is answered as asked.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from provisioners.errors import TargetRefused

if TYPE_CHECKING:
    from collections.abc import Callable

_TRIES = 3
_PAUSE_S = 0.1
_TIMEOUT_S = 3.0
_MOST_BYTES = 4 * 1024 * 1024
_CHUNK = 65_536
_OK = 200
_REDIRECTS = range(300, 400)
_QUOTED = 120
_PROTOCOL = "2025-06-18"


class _Unfit(Exception):
    """The answer is not what load could be judged by; `final` when asking again cannot help."""

    def __init__(self, why: str, next_step: str, *, final: bool = False) -> None:
        super().__init__(why)
        self.next_step = next_step
        self.final = final


def ask_once(side: str, url: str, tool: str) -> None:
    """Ask one side as the load will; raises TargetRefused naming what is wrong with its answer."""
    for attempt in range(1, _TRIES + 1):
        try:
            _ask(url, tool)
        except _Unfit as unfit:
            if attempt < _TRIES and not unfit.final:
                time.sleep(_PAUSE_S)
                continue
            raise TargetRefused(
                f"{side} cannot be compared: {unfit}", where=url, why="no load was sent to either side",
                next_step=unfit.next_step,
            ) from None  # fmt: skip
        else:
            return


def _ask(url: str, tool: str) -> None:
    from verbs.compare import path_of

    parts = urlsplit(url)
    host = parts.hostname or ""
    connection = _connection(parts.scheme, host, parts.port)
    until = time.monotonic() + _TIMEOUT_S
    try:
        answer, body = _bounded(connection, lambda: _exchange(connection, path_of(parts, tool), tool, until))
    finally:
        connection.close()
    _judge_status(answer, body)
    if tool:
        _judge_call(answer.headers.get("content-type") or "", body)


def _connection(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    if scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S)
    return http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)


def _bounded(
    connection: http.client.HTTPConnection,
    exchange: Callable[[], tuple[http.client.HTTPResponse, bytes]],
) -> tuple[http.client.HTTPResponse, bytes]:
    """Run the exchange and put what went wrong into the words of an operator."""
    where = f"{connection.host}:{connection.port}"
    try:
        return exchange()
    except socket.gaierror as error:
        why = f"the name {connection.host} does not resolve ({error.strerror})"
        raise _Unfit(why, "correct the host, or ask for its address", final=True) from error
    except ssl.SSLCertVerificationError as error:
        why = f"its certificate is not trusted ({error.verify_message})"
        raise _Unfit(why, "use a name that the certificate holds, or SSL_CERT_FILE", final=True) from error
    except ssl.SSLError as error:
        why = f"TLS failed ({error.reason or error})"
        raise _Unfit(why, "is that port served over TLS? otherwise write http://", final=True) from error
    except TimeoutError as error:
        tls = isinstance(connection, http.client.HTTPSConnection)
        ask = "is that port served over TLS, and does it answer?" if tls else "is it up, and does it end?"
        raise _Unfit(f"no whole answer within {_TIMEOUT_S:g} s", ask, final=True) from error
    except ConnectionRefusedError as error:
        raise _Unfit(f"nothing listens on {where}", "start it, or correct the port") from error
    except http.client.IncompleteRead as error:
        why = f"it closed inside the body, {len(error.partial)} bytes in"
        raise _Unfit(why, "read the server's log") from error
    except http.client.RemoteDisconnected as error:
        raise _Unfit("it closed without an answer", "read the server's log") from error
    except http.client.HTTPException as error:
        why = f"what it sent is not HTTP ({type(error).__name__})"
        raise _Unfit(why, "is that the right port, and http or https?") from error
    except OSError as error:
        raise _Unfit(f"it cannot be reached ({error})", "is it up?") from error


def _exchange(
    connection: http.client.HTTPConnection, path: str, tool: str, until: float
) -> tuple[http.client.HTTPResponse, bytes]:
    if tool:
        call = {"name": tool, "arguments": {}}
        _post(connection, path, "tools/call", call, _session(connection, path, until), 1)
    else:
        connection.request("GET", path, headers={"Accept": "*/*"})
    return _read(connection, until)


def _session(connection: http.client.HTTPConnection, path: str, until: float) -> dict[str, str]:
    """Introduce ourselves as an MCP client does; a server that knows no session is called without."""
    hello = {
        "protocolVersion": _PROTOCOL,
        "capabilities": {},
        "clientInfo": {"name": "gonogo", "version": "1"},
    }
    _post(connection, path, "initialize", hello, {}, 0)
    answer, _ = _read(connection, until)
    session = answer.headers.get("mcp-session-id")
    if answer.status != _OK or not session:
        return {}
    headers = {"Mcp-Session-Id": session, "MCP-Protocol-Version": _PROTOCOL}
    _post(connection, path, "notifications/initialized", None, headers, None)
    _read(connection, until)
    return headers


def _post(
    connection: http.client.HTTPConnection,
    path: str,
    method: str,
    params: object,
    headers: dict[str, str],
    call_id: int | None,
) -> None:
    message: dict[str, object] = {"jsonrpc": "2.0", "method": method}
    message |= {"params": params} if params is not None else {}
    message |= {"id": call_id} if call_id is not None else {}
    usual = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    connection.request("POST", path, json.dumps(message), usual | headers)


def _read(connection: http.client.HTTPConnection, until: float) -> tuple[http.client.HTTPResponse, bytes]:
    answer = connection.getresponse()
    body = b""
    while chunk := answer.read1(_CHUNK):
        body += chunk
        if len(body) > _MOST_BYTES:
            raise _Unfit(f"its answer is over {_MOST_BYTES >> 20} MiB", "name a smaller page", final=True)
        if time.monotonic() > until:
            raise TimeoutError
    if answer.length:  # read1 takes an early end for the end
        raise http.client.IncompleteRead(body, answer.length)
    answer.close()  # whole, so the connection can carry the next request
    return answer, body


def _judge_status(answer: http.client.HTTPResponse, body: bytes) -> None:
    if answer.status in _REDIRECTS:
        to = answer.headers.get("location", "nowhere")
        raise _Unfit(f"it redirects to {to} (status {answer.status})", "give the URL it leads to", final=True)
    if answer.status != _OK:
        raise _Unfit(
            f"it answers with status {answer.status}: {_quoted(body)}", "correct the URL, or the server"
        )


def _judge_call(content_type: str, body: bytes) -> None:
    from loadtests.answer import judge
    from loadtests.profile import TOOLS_CALL
    from loadtests.sample import ErrorKind

    if content_type.startswith("text/html"):
        raise _Unfit(
            f"it answers a tools/call with HTML: {_quoted(body)}", "give the URL of the MCP endpoint"
        )
    kind, detail = judge(_OK, content_type, body, TOOLS_CALL, 1)
    if kind is not ErrorKind.NONE:
        name = kind.name.lower().replace("_", " ")
        raise _Unfit(
            f"its answer to a tools/call is no result ({name}): {detail}", "is the tool's name right?"
        )


def _quoted(body: bytes) -> str:
    return ascii(body[:_QUOTED].decode("utf-8", "backslashreplace"))
