"""A stand-in of the API server for the enforcer: lists and watches objects that lie in a JSON file.

    python tests/policy_api.py FILE PORT

The file holds {"pods": [...], "namespaces": [...], "policies": [...]}; a change of it is an event.
"""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "sesame"
_NAMES = {"pods": "pods", "namespaces": "namespaces", "networkpolicies": "policies"}


class Api(BaseHTTPRequestHandler):
    file: Path
    listed: dict[str, dict[str, Any]]  # what a watch goes on from: nothing between the two is lost

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        name = _NAMES[url.path.rsplit("/", 1)[1]]
        if self.headers.get("authorization") != f"Bearer {TOKEN}":
            self.send_error(403)
            return
        self.send_response(200)
        self.end_headers()
        query = parse_qs(url.query)
        if "watch" not in query:
            rows = self._rows(name)
            self.listed[name] = _by_name(rows)
            self._say({"metadata": {"resourceVersion": "1"}, "items": rows})
            return
        if query["resourceVersion"] == ["gone"]:
            self._say({"type": "ERROR", "object": {"message": "too old resource version"}})
            return
        self._follow(name)

    def _follow(self, name: str) -> None:
        known = self.listed.get(name, {})
        ends = time.monotonic() + 30
        while time.monotonic() < ends:
            rows = _by_name(self._rows(name))
            for key, row in rows.items():
                if known.get(key) != row:
                    self._say({"type": "MODIFIED", "object": row})
            for key in known.keys() - rows.keys():
                self._say({"type": "DELETED", "object": known[key]})
            known = rows
            time.sleep(0.05)

    def _rows(self, name: str) -> list[Any]:
        rows: list[Any] = json.loads(self.file.read_text(encoding="utf-8"))[name]
        for row in rows:
            row["metadata"]["resourceVersion"] = "2"
        return rows

    def _say(self, body: Any) -> None:
        self.wfile.write(json.dumps(body).encode() + b"\n")
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


def _by_name(rows: list[Any]) -> dict[str, Any]:
    return {json.dumps(row["metadata"], sort_keys=True): row for row in rows}


def serve(file: Path, port: int = 0) -> ThreadingHTTPServer:
    """Return the server, not yet serving."""
    server = ThreadingHTTPServer(("127.0.0.1", port), type("Here", (Api,), {"file": file, "listed": {}}))
    server.daemon_threads = True
    return server


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2])).serve_forever()
