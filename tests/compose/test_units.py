import pytest

from provisioners.compose.units import (
    MountText,
    PortText,
    UnitError,
    cpu_quantity,
    docker_duration,
    memory_quantity,
    parse_bytes,
    parse_cpus,
    parse_duration_s,
    parse_limit,
    parse_limit_bytes,
    parse_mount,
    parse_ports,
)


def test_durations() -> None:
    given = {"30s": 30, "1m30s": 90, "1h": 3600, "500ms": 0.5, "0": 0, "2.5s": 2.5}
    assert {text: parse_duration_s(text) for text in given} == given
    for text in ("", "30", "s", "-5s", "5x", "5s5"):
        with pytest.raises(UnitError):
            parse_duration_s(text)
    assert [docker_duration(value) for value in (30.0, 0.5, 90.0, 0.000001)] == ["30s", "500ms", "90s", "1us"]


def test_sizes() -> None:
    given = {
        "512M": 512 << 20,
        "4G": 4 << 30,
        "1gb": 1 << 30,
        "256MiB": 256 << 20,
        "1024": 1024,
        "1.5k": 1536,
    }
    assert {text: parse_bytes(text) for text in given} == given
    for text in ("", "G", "4X", "-1M", "1 000"):
        with pytest.raises(UnitError):
            parse_bytes(text)
    assert [memory_quantity(size) for size in (512 << 20, 4 << 30, 1536, 1)] == ["512Mi", "4Gi", "1536", "1"]


def test_cpus() -> None:
    assert [cpu_quantity(parse_cpus(text)) for text in ("0.5", "2", "0.25", "1.5")] == [
        "500m",
        "2",
        "250m",
        "1500m",
    ]
    for text in ("", "nan", "-1", "inf", "two"):
        with pytest.raises(UnitError):
            parse_cpus(text)


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("80", [PortText(80, None, "tcp", "")]),
        ("8080:80", [PortText(80, 8080, "tcp", "")]),
        ("22:22", [PortText(22, 22, "tcp", "")]),
        ("53:53/udp", [PortText(53, 53, "udp", "")]),
        ("127.0.0.1:8080:80", [PortText(80, 8080, "tcp", "127.0.0.1")]),
        ("127.0.0.1::80", [PortText(80, None, "tcp", "127.0.0.1")]),
        ("[::1]:8080:80", [PortText(80, 8080, "tcp", "::1")]),
        ("3000-3001:4000-4001", [PortText(4000, 3000, "tcp", ""), PortText(4001, 3001, "tcp", "")]),
        ("8000-8010:80", [PortText(80, 8000, "tcp", "")]),
    ],
)
def test_ports(text: str, ports: list[PortText]) -> None:
    assert list(parse_ports(text)) == ports


@pytest.mark.parametrize(
    "text", ["", "0", "70000", "80/http", "a:b", "80-70", "1-2:3-5", "1:2:3:4:5", "\u0661:\u0662"]
)
def test_no_ports(text: str) -> None:
    with pytest.raises(UnitError):
        parse_ports(text)


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("data:/data", MountText("volume", "data", "/data", ())),
        ("./a:/b:ro", MountText("bind", "./a", "/b", ("ro",))),
        ("/x:/y:rw,z", MountText("bind", "/x", "/y", ("rw", "z"))),
        ("/only", MountText("anonymous", "", "/only", ())),
    ],
)
def test_mounts(text: str, mount: MountText) -> None:
    assert parse_mount(text) == mount


@pytest.mark.parametrize("text", ["", "relative", "data:relative"])
def test_no_mounts(text: str) -> None:
    with pytest.raises(UnitError):
        parse_mount(text)


def test_limits() -> None:
    assert [parse_limit_bytes(text) for text in ("-1", "1k")] == [-1, 1024]
    assert [parse_limit(text) for text in ("-1", "0", "100")] == [-1, 0, 100]
    for text in ("-2", "", "x", "1.5", "\u0661"):
        with pytest.raises(UnitError):
            parse_limit(text)
