import time
from pathlib import Path

import pytest

from provisioners.compose import load_yaml
from provisioners.compose.nodes import Leaf, leaves, plain
from provisioners.compose.reader import MAX_BYTES, read_documents, read_file, read_text
from provisioners.errors import InputError


def test_every_leaf_has_path_and_line() -> None:
    text = "a: 1\nb:\n  - x\n  - c: y\n    d: [p, q]\n"
    found = {(leaf.path, leaf.line) for leaf in leaves(read_text(text, "f").root)}
    assert found == {("a", 1), ("b[0]", 3), ("b[1].c", 4), ("b[1].d[0]", 5), ("b[1].d[1]", 5)}


@pytest.mark.parametrize(
    "text", ["22:22", "on", "0644", "1_000", "0x10", "1e", "yes", "12:30:45", "2001-01-01"]
)
def test_yaml_1_1_scalars_stay_text(text: str) -> None:
    assert plain(read_text(f"a: {text}", "f").root) == {"a": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-3", -3),
        ("0.5", 0.5),
        ("1e3", 1000.0),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("'1'", "1"),
    ],
)
def test_scalars_of_yaml_1_2(text: str, value: object) -> None:
    assert plain(read_text(f"a: {text}", "f").root) == {"a": value}


def test_all_duplicates_are_found_with_both_lines() -> None:
    text = "a: 1\nb:\n  c: 1\n  c: 2\n  c: 3\na: 2\n"
    document = read_text(text, "f")
    assert [(item.path, item.first_line, item.line) for item in document.duplicates] == [
        ("b.c", 3, 4),
        ("b.c", 4, 5),
        ("a", 1, 6),
    ]
    assert plain(document.root) == {"b": {"c": 3}, "a": 2}


def test_merge_keys_and_aliases() -> None:
    text = "x: &x {a: 1, b: {c: 2}}\ny: &y {d: 4, a: 9}\nz:\n  <<: [*x, *y]\n  b: 5\nw: *x\n"
    root = read_text(text, "f").root
    assert plain(root) == {
        "x": {"a": 1, "b": {"c": 2}},
        "y": {"d": 4, "a": 9},
        "z": {"a": 1, "d": 4, "b": 5},
        "w": {"a": 1, "b": {"c": 2}},
    }
    paths = {leaf.path: leaf.line for leaf in leaves(root)}
    assert paths["z.a"] == 1
    assert paths["w.b.c"] == 1
    assert paths["z.<<"] == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: *nowhere", "*nowhere has no anchor"),
        ("a: [1, 2", "not YAML"),
        ("a: 1\n- b", "not YAML"),
        ("? [a]\n: 1", "a key is a list"),
        ("a:\n  <<: 1", "a merge key takes a table"),
        ("a: &a [*a]", "no anchor before it"),
        ("a: 1\n---\nb: 2\n", "2 YAML documents"),
        ("", "empty"),
        ("# nothing\n", "empty"),
        ("a: \x01", "not YAML"),
    ],
)
def test_broken_text_is_an_input_error(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_text(text, "bad.yml")
    assert words in str(caught.value)
    assert "bad.yml" in str(caught.value)
    assert caught.value.exit_code == 2


def test_bounds_hold_within_a_second(tmp_path: Path) -> None:
    started = time.process_time()
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(InputError, match="aliases expand"):
        read_text("\n".join(levels), "bomb.yml")
    with pytest.raises(InputError, match="nested deeper"):
        read_text("[" * 10_000, "deep.yml")
    with pytest.raises(InputError, match="nested deeper"):
        read_text("".join(f"{' ' * i}a:\n" for i in range(1000)), "deep2.yml")
    large = tmp_path / "large.yml"
    with large.open("wb") as file:
        file.truncate(100 * 2**20)
    with pytest.raises(InputError, match="100 MiB"):
        read_file(large)
    assert large.stat().st_size > MAX_BYTES
    assert time.process_time() - started < 1.0


def test_a_merge_bomb_is_bounded() -> None:
    levels = ["a0: &a0 {k: {x: 1, y: 2}}"]
    levels += [f"a{i}: &a{i} {{p: *a{i - 1}, q: *a{i - 1}, <<: *a{i - 1}}}" for i in range(1, 40)]
    with pytest.raises(InputError, match="aliases expand"):
        read_text("\n".join(levels), "bomb.yml")


def test_encodings(tmp_path: Path) -> None:
    path = tmp_path / "f.yml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert load_yaml(path) == {"a": 1, "b": 2}
    for data in ("a: 1".encode("utf-16"), "a: 1".encode("utf-16-le")):
        path.write_bytes(data)
        with pytest.raises(InputError, match="not UTF-8"):
            read_file(path)
    path.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(InputError, match=r"f\.yml:2.*not UTF-8"):
        read_file(path)
    with pytest.raises(InputError, match="folder"):
        read_file(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read_file(tmp_path / "absent.yml")


def test_load_yaml_refuses_duplicates(tmp_path: Path) -> None:
    path = tmp_path / "f.yml"
    path.write_text("a: 1\na: 2\n")
    with pytest.raises(InputError, match="1 duplicate key"):
        load_yaml(path)


def test_several_documents_of_manifests() -> None:
    documents = read_documents("a: &x 1\n---\n---\nb: 2\nb: 3\n", "f")
    assert [plain(document.root) for document in documents] == [{"a": 1}, {"b": 3}]
    assert [len(document.duplicates) for document in documents] == [0, 1]


@pytest.mark.parametrize(
    ("text", "tagged"),
    [("a: !reset []", True), ("a: {b: !override x}", True), ("a: !!str 1\nb: !other 2", False)],
)
def test_tags_of_merging_are_told(text: str, tagged: bool) -> None:
    assert read_text(text, "f").tagged is tagged


def test_null_is_no_text() -> None:
    root = read_text("a:\nb: ''\n", "f").root
    nulls = {leaf.path: leaf.is_null for leaf in leaves(root) if isinstance(leaf, Leaf)}
    assert nulls == {"a": True, "b": False}
