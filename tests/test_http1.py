"""HTTP/1.1 answers in pieces of any size: what is whole, what is garbage, what is too much."""

import random

import pytest

from loadtests.http1 import (
    MOST_BODY_BYTES,
    MOST_HEAD_BYTES,
    AnswerReader,
    Cut,
    Garbage,
    Head,
    HeadCache,
    TooLarge,
    parse_head,
)

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"


def read(data: bytes, size: int = 0, *, closes: bool = False) -> AnswerReader:
    """Feed an answer in pieces of `size` bytes (0: all at once) ; it must be whole at its end, not before."""
    reader = AnswerReader(HeadCache())
    size = size or len(data)
    done = False
    for at in range(0, len(data), size):
        assert not done, "whole before its last piece"
        done = reader.feed(data[at : at + size])
    assert done or closes, "not whole at its end"
    if closes:
        assert reader.end()
    return reader


WHOLE = [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello"),
    (b"HTTP/1.0 200\r\ncontent-length:5\r\n\r\nhello", 200, b"hello"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", 200, b"hello"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b""),
    (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, b""),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not\r\nContent-Length: 2\r\n\r\nno", 404, b"no"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 200, b"hello"),
    (
        CHUNKED + b"00a;x=y\r\n0123456789\r\n2\r\n\r\n\r\n0;z\r\nT: 1\r\nU: 2\r\n\r\n",
        200,
        b"0123456789\r\n",
    ),
]


@pytest.mark.parametrize(("data", "status", "body"), WHOLE)
def test_a_whole_answer_in_pieces_of_any_size(data, status, body):
    for size in (0, 1, 2, 3, 7, 16):
        reader = read(data, size)
        assert reader.head is not None
        assert (reader.head.status, bytes(reader.body)) == (status, body)


def test_random_cuts_give_the_same_as_one_piece():
    draw = random.Random(5)
    for data, _, body in WHOLE:
        for _ in range(40):
            reader, at = AnswerReader(HeadCache()), 0
            while at < len(data):
                step = draw.randint(1, 9)
                done = reader.feed(data[at : at + step])
                at += step
            assert done
            assert bytes(reader.body) == body


def test_a_body_that_ends_with_the_connection():
    reader = read(b"HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; x\r\n\r\ndata: 1\n\n", 4, closes=True)
    assert reader.head == Head(200, -1, keep_alive=False, content_type="text/event-stream; x", session_id="")
    assert reader.head.event_stream
    assert reader.body == b"data: 1\n\n"


@pytest.mark.parametrize(
    ("data", "kind", "said"),
    [
        (b"\x00\x01", Garbage, "not HTTP/1.1"),
        (b"HTTP/2.0 200 OK\r\n\r\n", Garbage, "not HTTP/1.1"),
        (b"HTTP/1.1 20 OK\r\n\r\n", Garbage, "status line"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", Garbage, "header line"),
        (b"HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n", Garbage, "header line"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", Garbage, "Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n", Garbage, "Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n", Garbage, "Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n", Garbage, "Content-Length"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", Garbage, "transfer codings"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", Garbage, "101"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab", Garbage, "1 bytes more"),
        (b"HTTP/1.1 204 No\r\n\r\nab", Garbage, "bytes more"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", Garbage, "size of a chunk"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", Garbage, "size of a chunk"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n",
            Garbage,
            "longer than it says",
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP", Garbage, "after the end"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 5000, Garbage, "does not end"),
        (b"HTTP/1.1 100 C\r\n\r\n" * 20, Garbage, "interim"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * MOST_HEAD_BYTES, TooLarge, "headers"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * MOST_HEAD_BYTES + b"\r\n\r\n", TooLarge, "headers"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", TooLarge, "body"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MOST_BODY_BYTES + 1), TooLarge, "body"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFF\r\n", TooLarge, "chunk"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"T: " + b"x\r\n" * 70000,
            TooLarge,
            "trailers",
        ),
    ],
)
def test_what_breaks_the_protocol_or_a_bound(data, kind, said):
    with pytest.raises(kind, match=said):
        AnswerReader(HeadCache()).feed(data)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "before a byte"),
        (b"HTTP/1.1 200 OK\r\nX: y", "inside the headers"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "inside the headers"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", "inside the body after 3 bytes"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", "inside the body"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", "inside the body"),
    ],
)
def test_a_close_inside_an_answer_cuts_it(data, said):
    reader = AnswerReader(HeadCache())
    if data:
        assert not reader.feed(data)
    with pytest.raises(Cut, match=said):
        reader.end()


@pytest.mark.parametrize(
    ("line", "keeps"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Close\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x, close\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n", False),
    ],
)
def test_whether_another_request_may_follow(line, keeps):
    assert parse_head(line).keep_alive is keeps


def test_heads_are_remembered_by_their_bytes_and_forgotten_in_time():
    heads = HeadCache()
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nMcp-Session-Id: AbC\r\n\r\n"
    assert heads[raw] is heads[raw]
    assert heads[raw].session_id == "AbC"
    assert heads[raw.replace(b"5", b"6")].length == 6
    for number in range(3000):
        _ = heads[b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % number]
    assert len(heads) <= 1024
    with pytest.raises(Garbage):
        _ = heads[b"HTTP/1.1 nonsense\r\n\r\n"]
    assert b"HTTP/1.1 nonsense\r\n\r\n" not in heads
