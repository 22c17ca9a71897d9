"""HTTP/1.1 answers read from bytes as they come, in pieces of any size; no socket in here.

A head is parsed once and remembered by its exact bytes (`HeadCache`): servers repeat
theirs, but for the second in `Date`. `AnswerReader` is the whole parser, for everything
that did not come as one head with one counted body: interim answers, chunks, bodies that end
with the connection. What breaks the protocol raises Garbage, what is over a bound TooLarge.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MOST_HEAD_BYTES = 64 * 1024
MOST_BODY_BYTES = 4 * 1024 * 1024
_MOST_INTERIM = 16
_MOST_CHUNK_LINE = 4096
_MOST_TRAILERS = 64 * 1024
_MOST_REMEMBERED = 1024
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)(?: [^\r\n]*)?\Z")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_DIGITS = re.compile(rb"\d{1,18}\Z")
_HEX = re.compile(rb"[0-9A-Fa-f]{1,15}\Z")
_SWITCHING = 101
_FIRST_FINAL = 200
_NO_BODY = frozenset((204, 205, 304))
_BY_CLOSE = -1
_CHUNKED = -2


class Garbage(ValueError):
    """The bytes are no HTTP/1.1 answer."""


class TooLarge(ValueError):
    """The answer is larger than is read."""


class Cut(ValueError):
    """The connection ended inside the answer."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a status line and its headers say that matters here.

    `length` is the body's length in bytes, or below 0 when chunks or the connection's end
    tell it. `keep_alive` is whether another request may follow. `interim` is a 1xx.
    """

    status: int
    length: int
    keep_alive: bool
    content_type: str
    session_id: str

    @property
    def counted(self) -> bool:
        """Whether the length of the body stands in the head."""
        return self.length >= 0

    @property
    def interim(self) -> bool:
        """Whether the real answer is still to come."""
        return self.status < _FIRST_FINAL

    @property
    def event_stream(self) -> bool:
        """Whether the body is a stream of server-sent events."""
        return self.content_type.startswith("text/event-stream")


def parse_head(head: bytes) -> Head:
    """Parse a status line and headers, up to and with the empty line after them."""
    lines = head[:-4].split(b"\r\n")
    found = _STATUS_LINE.match(lines[0])
    if found is None:
        raise Garbage(f"not a status line of HTTP/1.1: {lines[0][:80]!r}")
    status = int(found[2])
    fields: dict[bytes, list[bytes]] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.match(name):
            raise Garbage(f"not a header line: {line[:80]!r}")
        fields.setdefault(name.lower(), []).append(value.strip(b" \t"))
    if status == _SWITCHING:
        raise Garbage("101 Switching Protocols, which was not asked for")
    length = _framing(fields, status)
    tokens = {token.strip().lower() for value in fields.get(b"connection", ()) for token in value.split(b",")}
    keep = b"close" not in tokens and (found[1] == b"1" or b"keep-alive" in tokens)
    return Head(
        status=status,
        length=length,
        keep_alive=keep and length != _BY_CLOSE and not (length == _CHUNKED and b"content-length" in fields),
        content_type=_first(fields, b"content-type").lower(),
        session_id=_first(fields, b"mcp-session-id"),
    )


def _first(fields: dict[bytes, list[bytes]], name: bytes) -> str:
    return fields[name][0].decode("latin-1") if name in fields else ""


def _framing(fields: dict[bytes, list[bytes]], status: int) -> int:
    """Return the body's length as `Head.length` has it; chunks win over a counted length."""
    if status < _FIRST_FINAL or status in _NO_BODY:
        return 0
    codings = [c.strip().lower() for v in fields.get(b"transfer-encoding", ()) for c in v.split(b",")]
    if codings:
        if codings != [b"chunked"]:
            raise Garbage(f"transfer codings that were not asked for: {b', '.join(codings)[:80]!r}")
        return _CHUNKED
    lengths = {c.strip() for value in fields.get(b"content-length", ()) for c in value.split(b",")}
    if not lengths:
        return _BY_CLOSE
    (text, *others) = lengths
    if others or not _DIGITS.match(text):
        raise Garbage(f"no usable Content-Length: {sorted(lengths)!r}"[:200])
    return int(text)


class HeadCache(dict[bytes, Head]):
    """Heads by their exact bytes; parses the ones it has not seen, and forgets all when it is full."""

    def __missing__(self, raw: bytes) -> Head:
        head = parse_head(raw)
        if len(self) >= _MOST_REMEMBERED:
            self.clear()
        self[raw] = head
        return head


class AnswerReader:
    """Reads one answer; `feed` its bytes, and `end` when the server closes.

    `head` is None until it has come. `body` holds what has come of the body. After the
    whole answer, what is left over was not asked for and raises Garbage.
    """

    def __init__(self, heads: HeadCache) -> None:
        self.head: Head | None = None
        self.body = bytearray()
        self.started = False
        self._heads = heads
        self._buffer = bytearray()
        self._interim = 0
        self._left = 0  # of the current chunk, with its line end; below 0: the trailers
        self._trailer_bytes = 0

    def feed(self, data: bytes) -> bool:
        """Take the next bytes; return whether the answer is whole."""
        self.started = True
        self._buffer += data
        while self.head is None:
            if not self._read_head():
                return False
        if self.head.length == _CHUNKED:
            done = self._read_chunks()
        else:
            self.body += self._buffer
            self._buffer.clear()
            done = self.head.counted and len(self.body) >= self.head.length
            if done and len(self.body) > self.head.length:
                raise Garbage(f"{len(self.body) - self.head.length} bytes more than Content-Length says")
        if len(self.body) > MOST_BODY_BYTES or self.head.length > MOST_BODY_BYTES:
            raise TooLarge(f"a body of over {MOST_BODY_BYTES} bytes")
        if done and self._buffer:
            raise Garbage(f"{len(self._buffer)} bytes after the end of the answer")
        return done

    def end(self) -> bool:
        """The server closed; return True when that ends the answer, else raise Cut."""
        if self.head is not None and self.head.length == _BY_CLOSE:
            return True
        if not self.started:
            raise Cut("connection closed before a byte of the answer")
        where = "headers" if self.head is None else f"body after {len(self.body)} bytes"
        raise Cut(f"connection closed inside the {where}")

    def _read_head(self) -> bool:
        """Take a head off the buffer, interim ones are passed over; return whether there was one."""
        if not b"HTTP/1."[: len(self._buffer)] == self._buffer[:7]:
            raise Garbage(f"not HTTP/1.1: {bytes(self._buffer[:80])!r}")
        at = self._buffer.find(b"\r\n\r\n")
        if at < 0:
            if len(self._buffer) > MOST_HEAD_BYTES:
                raise TooLarge(f"headers of over {MOST_HEAD_BYTES} bytes")
            return False
        if at > MOST_HEAD_BYTES:
            raise TooLarge(f"headers of over {MOST_HEAD_BYTES} bytes")
        head = self._heads[bytes(self._buffer[: at + 4])]
        del self._buffer[: at + 4]
        if not head.interim:
            self.head = head
            return True
        self._interim += 1
        if self._interim > _MOST_INTERIM:
            raise Garbage(f"over {_MOST_INTERIM} interim answers")
        return bool(self._buffer)

    def _read_chunks(self) -> bool:
        """Move whole and partial chunks to the body; return whether the last one was read."""
        buffer = self._buffer
        while buffer:
            if self._left > 0:
                self._take_chunk()
                continue
            at = buffer.find(b"\r\n")
            if at < 0:
                if len(buffer) > _MOST_CHUNK_LINE:
                    raise Garbage("a chunk's line that does not end")
                return False
            line = bytes(buffer[:at])
            del buffer[: at + 2]
            if self._left < 0:
                if not line:
                    return True
                self._trailer_bytes += at
                if self._trailer_bytes > _MOST_TRAILERS:
                    raise TooLarge(f"trailers of over {_MOST_TRAILERS} bytes")
                continue
            size = line.split(b";", 1)[0].strip()
            if not _HEX.match(size):
                raise Garbage(f"not the size of a chunk: {line[:80]!r}")
            count = int(size, 16)
            if count > MOST_BODY_BYTES:
                raise TooLarge(f"a chunk of {count} bytes")
            self._left = count + 2 if count else -1
        return False

    def _take_chunk(self) -> None:
        """Move what is there of the current chunk; its last two bytes must be a line end."""
        buffer = self._buffer
        data = min(len(buffer), max(0, self._left - 2))
        self.body += buffer[:data]
        del buffer[:data]
        self._left -= data
        end = min(len(buffer), self._left)
        if self._left <= 2 and end:  # noqa: PLR2004  CR and LF
            if buffer[:end] != b"\r\n"[2 - self._left :][:end]:
                raise Garbage(f"a chunk that is longer than it says: {bytes(buffer[:20])!r}")
            del buffer[:end]
            self._left -= end
