"""A stand-in of the door to the API server: objects by path, and what was sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from provisioners.kube import Listing
from provisioners.shell import CommandResult

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Kube:
    server = "https://127.0.0.1:1"

    def __init__(self, **lists: list[Any]) -> None:
        self.lists = {key.replace("__", "/"): rows for key, rows in lists.items()}
        self.objects: dict[str, Any] = {}
        self.sent: list[tuple[str, str, Any]] = []
        self.said: dict[str, str] = {}
        self.answer: Callable[[str, Sequence[str]], bool | None] = lambda _pod, _argv: True
        self.may: Callable[[dict[str, Any]], bool] = lambda _spec: False

    def list_all(self, path: str, *, labels: str = "", fields: str = "") -> Listing:
        del labels, fields
        return Listing(tuple(self.lists.get(path.removeprefix("/api/v1/"), ())), "1")

    def get(self, path: str, query: Any = None) -> Any:
        del query
        if path.startswith("/api/v1/") and path.removeprefix("/api/v1/") in self.lists:
            return {"items": []}
        return self.objects.get(path)

    def apply(self, path: str, body: Any) -> Any:
        self.sent.append(("apply", path, body))
        self.objects[path] = body
        return body

    def delete(self, path: str) -> bool:
        self.sent.append(("delete", path, None))
        return self.objects.pop(path, None) is not None

    def create(self, path: str, body: Any) -> Any:
        self.sent.append(("create", path, body))
        if path.endswith("subjectaccessreviews"):
            return {"status": {"allowed": self.may(body["spec"])}}
        return {"status": {"token": "t"}}

    def exec(
        self, namespace: str, pod: str, container: str, argv: Sequence[str], timeout_s: float
    ) -> CommandResult:
        del namespace, container, timeout_s
        seen = self.answer(pod, argv)
        text = "" if seen is None else json.dumps({"ok": seen})
        return CommandResult(tuple(argv), pod, 0, text, "sh: not found" if seen is None else "", 0.1)

    def log(self, namespace: str, pod: str, **_: Any) -> str:
        return self.said.get(f"{namespace}/{pod}", "")
