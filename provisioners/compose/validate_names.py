"""The forms that Kubernetes asks of names, labels, keys and amounts; and tolerant ways into objects."""

from __future__ import annotations

import functools
import ipaddress
import re
from collections import Counter
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from provisioners.compose.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Steps = tuple[str | int, ...]

MAX_LABEL, MAX_NAME, MAX_PORT_NAME, MAX_PORT = 63, 253, 15, 65535
MAX_ID = 2**31 - 1  # of users and groups
_MAX_ANNOTATIONS_BYTES = 256 * 1024

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?\Z")
_LABEL_1035 = re.compile(r"[a-z](?:[-a-z0-9]*[a-z0-9])?\Z")
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*\Z")
_SEARCH = re.compile(r"[_a-z0-9](?:[-_a-z0-9]*[a-z0-9])?(?:\.[_a-z0-9](?:[-_a-z0-9]*[a-z0-9])?)*\.?\Z")
_SYSCTL = re.compile(r"[a-z0-9](?:[-_a-z0-9]*[a-z0-9])?(?:[./][a-z0-9](?:[-_a-z0-9]*[a-z0-9])?)*\Z")
_QUALIFIED = re.compile(r"[A-Za-z0-9](?:[-_.A-Za-z0-9]*[A-Za-z0-9])?\Z")
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9](?:-?[a-z0-9])*\Z")
_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}\Z")
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?\Z")
_BINARY, _DECIMAL = "KMGTPE", {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong: the rule that says so, the steps below the object's root, and the words."""

    rule: str
    steps: Steps
    message: str

    @property
    def path(self) -> str:
        """Return the steps as `spec.ports[0].name`."""
        return dotted(self.steps)

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.steps else self.message


def dotted(steps: Steps) -> str:
    """Return steps as a path such as `spec.ports[0].name`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")


# -- tolerant ways into an object whose shape may be anything ------------------------------------


def at(value: object, *steps: str) -> Any:
    """Return what is at some keys below a value; None where there is nothing."""
    for step in steps:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def table(value: object, *steps: str) -> dict[str, Any]:
    """Return the table at some keys below a value; empty where there is none."""
    found = at(value, *steps)
    return found if isinstance(found, dict) else {}


def rows(value: object, *steps: str) -> list[tuple[int, dict[str, Any]]]:
    """Return the tables of the list at some keys below a value, with their places."""
    found = at(value, *steps)
    if not isinstance(found, list | tuple):
        return []
    return [(index, item) for index, item in enumerate(found) if isinstance(item, dict)]


def _remembered(check: Callable[[object], str]) -> Callable[[object], str]:
    """Return the check with a memory: the same few names stand in every object."""
    cached = functools.lru_cache(maxsize=4096)(check)

    def ask(value: object) -> str:
        return cached(value) if isinstance(value, str) else check(value)

    return functools.wraps(check)(ask)


# -- forms ---------------------------------------------------------------------------------------


@_remembered
def label_name(text: object) -> str:
    """Return what is wrong with a DNS label (RFC 1123), or nothing."""
    if not isinstance(text, str) or not _LABEL.match(text):
        return f"{text!r} is no DNS label: small letters, digits and - are allowed"
    return _too_long(text, MAX_LABEL)


@_remembered
def service_name(text: object) -> str:
    """Return what is wrong with the name of a Service (RFC 1035), or nothing."""
    if not isinstance(text, str) or not _LABEL_1035.match(text):
        return f"{text!r} is no name of a Service: small letters, digits and -, and a letter first"
    return _too_long(text, MAX_LABEL)


@_remembered
def subdomain(text: object) -> str:
    """Return what is wrong with a DNS name (RFC 1123), or nothing."""
    if not isinstance(text, str) or not _SUBDOMAIN.match(text):
        return f"{text!r} is no name: small letters, digits, - and . are allowed"
    return _too_long(text, MAX_NAME)


@_remembered
def port_name(text: object) -> str:
    """Return what is wrong with the name of a port, or nothing."""
    if not isinstance(text, str) or not _PORT_NAME.match(text):
        return f"{text!r} is no port name: small letters, digits and single -, and one letter at least"
    return _too_long(text, MAX_PORT_NAME)


def port_number(value: object) -> str:
    """Return what is wrong with a port number, or nothing."""
    good = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_PORT
    return "" if good else f"{value!r} is no port: 1 to {MAX_PORT}"


@_remembered
def data_key(text: object) -> str:
    """Return what is wrong with a key of a ConfigMap or Secret, or nothing."""
    good = isinstance(text, str) and _DATA_KEY.match(text) and text not in {".", ".."}
    return "" if good else f"{text!r} is no key: letters, digits, - . and _ are allowed"


@_remembered
def variable_name(text: object) -> str:
    """Return what is wrong with the name of a variable of a container, or nothing."""
    legal = isinstance(text, str) and text and text.isascii() and text.isprintable() and "=" not in text
    return "" if legal else f"{text!r} is no name of a variable: printable ASCII without ="


@_remembered
def sysctl_name(text: object) -> str:
    """Return what is wrong with the name of a sysctl, or nothing."""
    good = isinstance(text, str) and _SYSCTL.match(text) and len(text) <= MAX_NAME
    return "" if good else f"{text!r} is no sysctl"


@_remembered
def search_domain(text: object) -> str:
    """Return what is wrong with a domain that DNS searches, or nothing; `_` is allowed there."""
    if text == ".":
        return ""
    if not isinstance(text, str) or not _SEARCH.match(text):
        return f"{text!r} is no domain: small letters, digits, - _ and . are allowed"
    return _too_long(text, MAX_NAME)


@_remembered
def qualified(text: object) -> str:
    """Return what is wrong with the key of a label or annotation, or nothing."""
    if not isinstance(text, str):
        return f"{text!r} is no text"
    prefix, slash, name = text.rpartition("/")
    if slash and (wrong := subdomain(prefix)):
        return f"the prefix of {text!r}: {wrong}"
    if not _QUALIFIED.match(name):
        return (
            f"{text!r} is no key of a label: letters, digits, - _ and ., and a letter or digit at both ends"
        )
    return _too_long(name, MAX_LABEL)


@_remembered
def label_value(value: object) -> str:
    """Return what is wrong with the value of a label, or nothing."""
    if value == "":
        return ""
    if not isinstance(value, str) or not _QUALIFIED.match(value):
        return (
            f"{value!r} is no value of a label: letters, digits, - _ and ., "
            "and a letter or digit at both ends"
        )
    return _too_long(value, MAX_LABEL)


def id_number(text: str) -> int | None:
    """Return the id of a user or group; None for a name, and for more than Kubernetes takes."""
    value = int(text) if text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_ID)) else None
    return None if value is None or value > MAX_ID else value


def address(text: object) -> str:
    """Return what is wrong with an IP address, or nothing."""
    try:
        found = ipaddress.ip_address(str(text))
    except ValueError:
        return f"{text!r} is no IP address"
    return f"{text!r} names an interface" if getattr(found, "scope_id", None) else ""


def network(text: object) -> str:
    """Return what is wrong with a CIDR, or nothing."""
    try:
        ipaddress.ip_network(str(text), strict=False)
    except ValueError:
        return f"{text!r} is no address range; write 10.0.0.0/16"
    return "" if "/" in str(text) else f"{text!r} has no length; write {text}/32"


def amount(value: object) -> Fraction | None:
    """Return a quantity as an exact number (`500m` is 1/2); None when it is none."""
    return _amount(str(value)) if isinstance(value, str | int | float) and value is not True else None


@functools.lru_cache(maxsize=4096)
def _amount(text: str) -> Fraction | None:
    match = _QUANTITY.match(text)
    if match is None:
        return None
    number, suffix = Fraction(match[1].rstrip(".")), match[2] or ""
    if suffix.endswith("i"):
        return number * (1 << 10 * (_BINARY.index(suffix[0]) + 1))
    if suffix in _DECIMAL:
        return number * _power(_DECIMAL[suffix])
    if suffix:
        exponent = int(suffix[1:])
        return None if abs(exponent) > MAX_NAME else number * _power(exponent)
    return number


def _power(exponent: int) -> Fraction:
    return Fraction(10**exponent) if exponent >= 0 else Fraction(1, 10**-exponent)


def twice(values: Sequence[Any]) -> list[Any]:
    """Return the values that are there more than once."""
    texts = [value if isinstance(value, str | tuple) else str(value) for value in values]
    if len(set(texts)) == len(texts):
        return []
    return [value for value, count in Counter(texts).items() if count > 1]


def labels_problems(labels: object, steps: Steps) -> Iterator[Problem]:
    """Yield what is wrong with a table of labels or a selector."""
    for key, value in (labels if isinstance(labels, dict) else {}).items():
        for wrong in (qualified(key), "" if value is None else label_value(value)):
            if wrong:
                yield Problem("label", (*steps, key), wrong)


def metadata_problems(metadata: dict[str, Any], steps: Steps) -> Iterator[Problem]:
    """Yield what is wrong with labels and annotations."""
    yield from labels_problems(metadata.get("labels"), (*steps, "labels"))
    notes = metadata.get("annotations")
    size = 0
    for key, value in (notes if isinstance(notes, dict) else {}).items():
        size += len(str(key).encode()) + len(str(value).encode())
        if wrong := qualified(str(key).lower()):
            yield Problem("label", (*steps, "annotations", key), wrong)
    if size > _MAX_ANNOTATIONS_BYTES:
        yield Problem("label", (*steps, "annotations"), f"{size} bytes of annotations; 256 KiB are allowed")


def _too_long(text: str, limit: int) -> str:
    return f"{text!r} has {len(text)} characters; {limit} are allowed" if len(text) > limit else ""
