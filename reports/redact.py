"""The one sink that takes secrets out of everything a run writes.

A secret is known by value: raw, in base64, quoted for a URL and escaped for JSON, each
form is replaced by `[redacted]`. Values shorter than four characters cannot be told from
ordinary text and are left alone.
"""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from reports.rows import clip, plain

if TYPE_CHECKING:
    from reports.model import Json

REDACTED = "[redacted]"
SHORTEST = 4


class Redactor:
    """Knows secret values and replaces every form of them."""

    def __init__(self) -> None:
        self._forms: list[str] = []

    def add(self, value: str | bytes) -> None:
        """Learn one secret; all its forms are replaced from now on."""
        forms = {form for form in _forms(value) if len(form) >= SHORTEST}
        # The longest first, so that no form leaves the rest of a longer one behind.
        self._forms = sorted(forms.union(self._forms), key=lambda form: (-len(form), form))

    def text(self, text: str) -> str:
        """Return the text without secrets."""
        for form in self._forms:
            text = text.replace(form, REDACTED)
        return text

    def found(self, data: bytes) -> bool:
        """Return whether any form of any secret is in these bytes."""
        return any(form.encode(errors="surrogateescape") in data for form in self._forms)

    def data(self, data: bytes) -> bytes:
        """Return the bytes without secrets."""
        for form in self._forms:
            data = data.replace(form.encode(errors="surrogateescape"), REDACTED.encode())
        return data

    def json(self, value: object) -> Json:
        """Return the value as JSON without secrets, keys too; overlong texts are cut with their length."""
        return self._walk(plain(value))

    def _walk(self, value: Json) -> Json:
        if isinstance(value, str):
            return clip(self.text(value))
        if isinstance(value, Mapping):
            return {self.text(key): self._walk(item) for key, item in value.items()}
        if isinstance(value, Sequence):
            return [self._walk(item) for item in value]
        if value is not None and not isinstance(value, bool) and str(value) in self._forms:
            return REDACTED
        return value


def _forms(value: str | bytes) -> set[str]:
    raw = value.encode(errors="surrogateescape") if isinstance(value, str) else value
    if not raw.strip():
        return set()
    forms: set[str] = set()
    for secret in {raw, raw.strip()}:
        text = secret.decode(errors="surrogateescape")
        forms |= {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
        forms |= {
            urllib.parse.quote(secret),
            urllib.parse.quote(secret, safe=""),
            urllib.parse.quote_plus(secret),
        }
        for encoded in (base64.b64encode(secret), base64.urlsafe_b64encode(secret)):
            forms |= {encoded.decode(), encoded.decode().rstrip("=")}
    return forms
