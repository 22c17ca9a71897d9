"""fixtures.backup*: a good backup is believed, and every bad one is told, by bytes that real tools wrote."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fixtures import backup_clean, backup_drill, backup_postgres
from fixtures.backup import (
    GLOBALS,
    POSTGRES,
    REDIS,
    VOLUME,
    BackupFile,
    Rules,
    describe,
    differences,
    major,
    problems_of,
    read_manifest,
    require_other,
    require_scratch,
    write_manifest,
)
from fixtures.backup_archive import ArchiveError, read_archive
from fixtures.backup_bad import bad_ones
from fixtures.backup_box import _MEMORY, LocalBox, Lost, fetch, put, require_memory, require_tools, sh
from fixtures.backup_drill import run_drill
from fixtures.backup_rdb import RdbError, crc64, read_rdb
from fixtures.backup_redis import Redis, SaveFailed
from fixtures.backup_subjects import Database, RestoreFailed, new_name
from fixtures.backup_volume import claim_objects
from fixtures.faults.journal import program
from provisioners.base import Cluster, ServiceSpec, Side
from provisioners.errors import InputError, TargetRefused
from provisioners.shell import CommandResult
from provisioners.targets import save_cluster, save_workload

if TYPE_CHECKING:
    from collections.abc import Sequence

RECORDED = Path(__file__).parent / "recorded"
DUMP = (RECORDED / "backup-17.dump").read_bytes()  # PostgreSQL 17: two tables of 5 rows and 0, a large object
RDB = (RECORDED / "backup-8.rdb").read_bytes()  # Redis 8: three keys
GLOBALS_SQL = (
    b"--\n-- PostgreSQL database cluster dump\n--\n\nCREATE ROLE sophia;\n"
    b"--\n-- PostgreSQL database cluster dump complete\n--\n\n"
)
MADE = read_archive(DUMP).created.replace(tzinfo=UTC)
SAVED = read_rdb(RDB).created or datetime.now(UTC)
NOW = max(MADE, SAVED) + timedelta(minutes=1)


def tar_of(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


TAR = tar_of({"a": bytes(range(1, 256)) * 300, "b/c": b"sentinel" * 10_000})  # more than a tar's padding
GOOD: dict[str, tuple[bytes, BackupFile, Rules]] = {
    POSTGRES: (DUMP, describe(POSTGRES, "x.dump", DUMP, "17.12", "1", MADE), Rules("17.12 (Debian)", NOW)),
    GLOBALS: (GLOBALS_SQL, describe(GLOBALS, "g.sql", GLOBALS_SQL, "17.12", "1", MADE), Rules("17.12", NOW)),
    REDIS: (RDB, describe(REDIS, "dump.rdb", RDB, "8.0.2", "1", SAVED), Rules("8.0.2", NOW)),
    VOLUME: (TAR, describe(VOLUME, "v.tar", TAR, "image", "v", MADE), Rules("image", NOW)),
}


@pytest.mark.parametrize("kind", GOOD)
def test_a_good_backup_is_believed(kind: str) -> None:
    assert problems_of(*GOOD[kind]) == []


@pytest.mark.parametrize("kind", GOOD)
def test_every_bad_backup_is_told(kind: str) -> None:
    data, row, rules = GOOD[kind]
    made = bad_ones(data, row)
    assert len(made) >= 7
    assert [bad.how for bad in made if not problems_of(bad.data, bad.row, rules)] == []
    assert len({bad.how for bad in made}) == len(made)


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("keep", [0.02, 0.3, 0.5, 0.9])
def test_a_cut_is_told_by_the_file_alone(kind: str, keep: float) -> None:
    data, row, rules = GOOD[kind]
    cut = data[: int(len(data) * keep)]
    fitted = replace(row, size_bytes=len(cut), sha256=hashlib.sha256(cut).hexdigest())
    assert problems_of(cut, fitted, rules)


def test_every_cut_of_an_archive_is_told() -> None:
    for size in range(len(DUMP)):
        with pytest.raises(ArchiveError):
            read_archive(DUMP[:size])


def test_every_cut_and_every_changed_byte_of_a_snapshot_is_told() -> None:
    for size in range(len(RDB)):
        with pytest.raises(RdbError):
            read_rdb(RDB[:size])
    for at in range(len(RDB)):
        with pytest.raises(RdbError):
            read_rdb(RDB[:at] + bytes([RDB[at] ^ 1]) + RDB[at + 1 :])


def test_the_checksum_is_the_one_of_redis() -> None:
    assert crc64(b"123456789") == 0xE9C6D914C4B8D9CA


def test_a_snapshot_without_a_checksum_is_not_believed() -> None:
    with pytest.raises(RdbError, match="rdbchecksum no"):
        read_rdb(RDB[:-8] + bytes(8))


def test_an_archive_tells_its_server_time_and_blocks() -> None:
    seen = read_archive(DUMP)
    assert (seen.database, major(seen.server_version), seen.tables) == ("small", "17", 2)
    assert seen.blocks == 3  # two tables, and the large objects


def test_what_is_quoted_of_roles_holds_no_password() -> None:
    data = GLOBALS_SQL.replace(b"CREATE ROLE sophia", b"ALTER ROLE sophia PASSWORD 'SCRAM-SHA-256$secret'")
    _, row, rules = GOOD[GLOBALS]
    for size in range(0, len(data), 7):
        assert "SCRAM" not in str(problems_of(data[:size], row, rules))
        assert "secret" not in str(problems_of(data[-size:], row, rules))


def test_an_old_a_future_and_a_foreign_backup_say_expected_and_found() -> None:
    data, row, rules = GOOD[POSTGRES]
    old = problems_of(data, row, replace(rules, now=NOW + timedelta(days=2)))
    assert any("expected at most 1 day" in one and "found 2 days" in one for one in old)
    assert "in the future" in str(problems_of(data, row, replace(rules, now=NOW - timedelta(hours=1))))
    other = problems_of(data, row, replace(rules, server_version="16.4"))
    assert any("expected 16" in one and "found 17" in one for one in other)


def test_a_manifest_comes_back_and_a_bad_one_is_refused() -> None:
    rows = [row for _, row, _ in GOOD.values()]
    assert list(read_manifest(write_manifest(rows), "m")) == rows
    for text in ("", "[]", '{"files": []}', '{"files": [{"kind": "postgres"}]}', '{"files": 3}'):
        with pytest.raises(InputError):
            read_manifest(text, "m")
    with pytest.raises(InputError, match="unusable"):
        read_manifest(write_manifest([replace(rows[0], kind="oracle")]), "m")


@pytest.mark.parametrize(
    "name", ["sophia_ai", "SOPHIA_AI", "postgres", "gonogo_", "gonogo", "", "gonogo_prod"]
)
def test_production_is_no_restore_target(name: str) -> None:
    with pytest.raises(TargetRefused) as caught:
        require_scratch(name, ["sophia_ai", "gonogo_prod"], "here")
    assert caught.value.exit_code == 4
    assert caught.value.next_step


def test_a_drill_s_own_name_passes() -> None:
    for mark in "_-":
        require_scratch(new_name(mark), ["sophia_ai"], "here")
    assert new_name() != new_name()


@pytest.mark.parametrize(("source", "other"), [("a", "a"), ("", ""), ("a", ""), ("", "a")])
def test_the_source_is_no_restore_target(source: str, other: str) -> None:
    with pytest.raises(TargetRefused):
        require_other(source, other, "here")


def test_differences_name_what_is_missing_and_what_changed() -> None:
    found = differences({"a": "1", "b": "2"}, {"b": "3", "c": "4"})
    assert found == ["a: 1 before, absent after", "b: 2 before, 3 after", "c: absent before, 4 after"]


def test_files_are_carried_whole_both_ways(tmp_path: Path) -> None:
    box, data = LocalBox(), bytes(range(256)) * 400
    put(box, data, str(tmp_path / "it's a file"))
    assert fetch(box, str(tmp_path / "it's a file")) == data
    put(box, b"", str(tmp_path / "empty"))
    assert fetch(box, str(tmp_path / "empty")) == b""
    with pytest.raises(Lost, match="cannot be read"):
        fetch(box, str(tmp_path / "absent"))
    with pytest.raises(Lost, match="not carried"):
        fetch(box, str(tmp_path / "it's a file"), most_bytes=10)
    with pytest.raises(Lost, match="not installed there: no-such-tool"):
        require_tools(box, ["sh", "no-such-tool"])


def test_a_box_that_runs_nothing_is_told_apart() -> None:
    with pytest.raises(Lost, match="no command runs"):
        require_tools(LocalBox(("no-such-program",)), ["sh"])


class Printing:
    """A box whose every command prints the same."""

    where = "fake"

    def __init__(self, text: str) -> None:
        self.text = text

    def run(self, argv: Sequence[str], timeout_s: float = 60.0) -> CommandResult:
        return CommandResult(tuple(argv), "fake", 0, self.text, "", 0.0)


@pytest.mark.parametrize("text", ["", "max 5 0", "1000000000 10 0", "100 100 64", "9223372036854771712 9 0"])
def test_a_second_instance_starts_where_it_has_room(text: str) -> None:
    require_memory(Printing(text), 64)


def test_a_second_instance_never_starves_the_deployed_one() -> None:
    with pytest.raises(Lost, match="MiB of memory are free"):
        require_memory(Printing("100 50 10"), 64)


def test_what_this_machine_s_limits_say_can_be_read() -> None:
    assert sh(LocalBox(), _MEMORY).ok


def test_the_undo_starts_by_its_path_and_is_done_where_the_target_is_gone(tmp_path: Path) -> None:
    cluster = Cluster(kind="lab", level="lab-upstream", kubeconfig=tmp_path / "gone")
    (tmp_path / "cluster.json").write_text(save_cluster(cluster), encoding="utf-8")
    (tmp_path / "workload.json").write_text(save_workload(()), encoding="utf-8")
    for kind in ("postgres", "redis", "volume"):
        undo = program(
            backup_clean.__file__, "x", tmp_path, "--kind", kind, "--name", new_name(), side=Side.KUBERNETES
        )
        assert subprocess.run(undo.argv, cwd=tmp_path, check=False, timeout=30).returncode == 0


def test_the_store_of_a_port_is_never_guessed() -> None:
    postgres, twin = ServiceSpec("db", "backend", 1, (5432,)), ServiceSpec("db2", "backend", 1, (5432,))
    assert backup_clean.store_of([postgres], 5432) == "db"
    for specs in ([], [postgres, twin], [ServiceSpec("m", "primary", 1, (5432,), mcp=True)]):
        with pytest.raises(Lost, match="services with port 5432"):
            backup_clean.store_of(specs, 5432)


def test_a_claim_has_a_namespace_of_its_own() -> None:
    objects = claim_objects("gonogo-drill-1", "image", "run-1")
    assert [path.rpartition("/")[2] for path, _ in objects] == ["gonogo-drill-1", "data", "helper"]
    assert {body["metadata"]["labels"]["gonogo.dev/run"] for _, body in objects} == {"run-1"}


class FakeRedis:
    """Answers as a server does whose save takes a few questions, or fails."""

    where = "fake"

    def __init__(self, *, status: str = "ok", saves_after: int = 3, data: bytes = RDB) -> None:
        self.status, self.left, self.data = status, saves_after, data
        self.last, self.now, self.asked = 1000, 1000, False
        self.said: list[str] = []

    def run(self, argv: Sequence[str], timeout_s: float = 60.0) -> CommandResult:
        words = list(argv[4:])
        self.said.append(" ".join(words))
        out = self.answer(words)
        return CommandResult(tuple(argv), "fake", 0, out, "", 0.0)

    def answer(self, words: list[str]) -> str:  # noqa: PLR0911 - one for each question
        match words:
            case ["LASTSAVE"]:
                return str(self.last)
            case ["TIME"]:
                self.now += 1
                return f"{self.now}\n0"
            case ["BGSAVE"]:
                self.asked = True
                return "Background saving started"
            case ["INFO", "persistence"]:
                busy = self.asked and self.left > 0
                self.left -= self.asked
                if self.asked and not busy and self.status == "ok":
                    self.last = self.now
                return f"rdb_bgsave_in_progress:{int(busy)}\r\nrdb_last_bgsave_status:{self.status}\r\n"
            case ["CONFIG", "GET", "dir"]:
                return "dir\n/data"
            case ["CONFIG", "GET", "dbfilename"]:
                return "dbfilename\ndump.rdb"
            case ["/data/dump.rdb"]:
                return f"{len(self.data)} {hashlib.sha256(self.data).hexdigest()}"
            case ["/data/dump.rdb", *_]:
                import base64

                return base64.b64encode(self.data).decode()
        return "ERR unknown"


def test_the_snapshot_is_copied_only_after_it_was_saved() -> None:
    fake = FakeRedis()
    data, asked_s = Redis(fake).save()
    assert data == RDB
    assert asked_s > 1000  # within the second of the last save, LASTSAVE could not move
    assert fake.said.index("BGSAVE") < len(fake.said) - 1
    copied = fake.said.index("/data/dump.rdb")
    assert "LASTSAVE" in fake.said[fake.said.index("BGSAVE") : copied]
    assert fake.last > 1000


def test_a_failed_save_is_no_backup() -> None:
    with pytest.raises(SaveFailed, match="'err'"):
        Redis(FakeRedis(status="err")).save()


class Twin:
    """A subject in memory, and ways in which its restore may be wrong."""

    kind = VOLUME
    name = "gonogo_drill_twin"

    def __init__(self, flaw: str = "") -> None:
        self.flaw = flaw
        self.data: dict[str, bytes] = {}
        self.copy: dict[str, bytes] = {}
        self.now = 0.0

    def where(self) -> tuple[str, str]:
        return "here", "there"

    def prepare(self) -> None:
        self.data = {"a": b"1", "b": b"2", "ticks": b"0", "z": b"sentinel" * 10_000}

    def version(self) -> str:
        return "image"

    def tick(self, number: int) -> None:
        self.data["ticks"] = str(number).encode()

    def newest(self) -> float:
        return float(self.data["ticks"])

    def digest(self) -> dict[str, str]:
        return {name: value.decode() for name, value in self.data.items()}

    def back_up(self) -> list[tuple[BackupFile, bytes]]:
        if self.flaw == "save":
            raise SaveFailed("no space left on device")
        data = tar_of(self.data)
        if self.flaw == "cut":
            data = data[:700]
        return [(describe(VOLUME, "v.tar", data, "image", "here", datetime.now(UTC)), data)]

    def destroy(self) -> bool:
        if self.flaw == "still there":
            return False
        self.data.clear()
        return True

    def restore(self, taken: list[tuple[BackupFile, bytes]]) -> None:
        if self.flaw == "tool":
            raise RestoreFailed("pg_restore: error")
        with tarfile.open(fileobj=io.BytesIO(taken[0][1])) as tar:
            for member in tar:
                stream = tar.extractfile(member)
                self.copy[member.name] = stream.read() if stream else b""
        if self.flaw == "row":
            del self.copy["b"]

    def restored(self) -> tuple[dict[str, str], float]:
        return {name: value.decode() for name, value in self.copy.items()}, float(self.copy["ticks"])

    def refuses(self, data: bytes) -> str:
        return "" if self.flaw == "believes" else f"cut at {len(data)}"

    def also(self) -> list[str]:
        return ["sophia_ai: 3 rows before, 2 after"] if self.flaw == "deployed" else []

    def clean(self) -> None:
        self.data.clear()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_drill, "_TICK_S", 0.0)


@pytest.mark.usefixtures("quick")
def test_a_drill_measures_what_was_lost_and_how_long_it_took(tmp_path: Path) -> None:
    seen = run_drill(Twin(), tmp_path / "keep")
    assert (seen.problems, seen.lacking, seen.destroyed, seen.compared) == ((), (), True, 4)
    assert seen.rpo_s == 3.0  # three ticks after the backup
    assert seen.rto_s is not None
    assert 0 <= seen.rto_s < 5
    assert seen.controls
    assert not seen.not_caught
    assert (tmp_path / "keep" / "v.tar").stat().st_mode & 0o077 == 0
    assert (tmp_path / "keep" / "manifest.json").stat().st_mode & 0o077 == 0


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("flaw", "where"),
    [
        ("save", "no space left"),
        ("tool", "not restored: pg_restore"),
        ("row", "b: 2 before, absent after"),
        ("deployed", "sophia_ai"),
    ],
)
def test_what_went_wrong_is_said(flaw: str, where: str, tmp_path: Path) -> None:
    seen = run_drill(Twin(flaw), tmp_path / "keep")
    assert where in "; ".join((*seen.problems, *seen.lacking))


@pytest.mark.usefixtures("quick")
def test_data_that_were_never_away_prove_nothing(tmp_path: Path) -> None:
    assert not run_drill(Twin("still there"), tmp_path / "keep").destroyed
    assert run_drill(Twin("believes"), tmp_path / "keep").tool_refused == ""


def test_an_undo_of_another_machine_s_names_is_refused() -> None:
    with pytest.raises(TargetRefused):
        backup_postgres.Postgres(LocalBox(("false",))).remove("sophia_ai", ["sophia_ai"])
    with pytest.raises(TargetRefused):
        Redis(LocalBox(("false",))).remove("session")
    with pytest.raises(TargetRefused):
        backup_postgres.Postgres(LocalBox(("false",))).restore("gonogo_x", "f", [])


_BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


@pytest.mark.skipif(
    not _BINARIES or shutil.which("setpriv") is None, reason="no PostgreSQL server on this machine"
)
@pytest.mark.parametrize("flaw", ["", "row", "sequence"])
def test_a_real_database_comes_back(flaw: str, tmp_path: Path) -> None:
    folder = _BINARIES[-1].parent
    bare = LocalBox(("env", f"PATH={folder}:/usr/local/bin:/usr/bin:/bin:/usr/sbin"))
    source = f"/tmp/gonogo_test_{time.time_ns()}"
    backup_postgres.start_elsewhere(bare, source)
    box = LocalBox((*bare.prefix, f"PGHOST={source}/data", "POSTGRES_USER=gonogo", "POSTGRES_DB=postgres"))
    subject = Broken(box, box, new_name(), flaw=flaw) if flaw else Database(box, box, new_name())
    try:
        seen = run_drill(subject, tmp_path / "keep")
        subject.clean()
        left = backup_postgres.Postgres(box).names()
    finally:
        subject.clean()
        backup_postgres.stop_elsewhere(bare, source)
    assert seen.problems == ()
    assert seen.destroyed
    assert seen.not_caught == ()
    assert "end of file" in seen.tool_refused
    assert seen.rpo_s is not None
    assert seen.rpo_s > 0
    assert not any(name.startswith("gonogo_drill") for name in left)
    assert not sh(bare, f"ls -d /tmp/{subject.name}*").ok
    if flaw:
        assert any(flaw in one for one in seen.lacking), seen.lacking
    else:
        assert seen.lacking == ()


class Broken(Database):
    """A database whose restored copy is changed before it is looked at: the negative control."""

    def __init__(self, box: LocalBox, other: LocalBox, name: str, *, flaw: str) -> None:
        super().__init__(box, other, name)
        self.flaw = flaw

    def restored(self) -> tuple[object, float]:  # type: ignore[override]
        sql = {
            "row": "UPDATE drill.items SET price = price + 1 WHERE id = 1001",
            "sequence": "SELECT nextval('drill.sevens')",
        }
        self._elsewhere.ask(sql[self.flaw], self.name)
        return super().restored()
