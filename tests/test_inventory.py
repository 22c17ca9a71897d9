from pathlib import Path
from typing import Any

import pytest

from provisioners.base import Node
from provisioners.errors import InputError
from provisioners.inventory import read_inventory, write_inventory
from provisioners.shell import Ssh


def node(index: int, **given: Any) -> Node:
    ssh = Ssh(
        host=f"node{index}",
        address=f"192.0.2.{index}",
        port=2222,
        user="ops",
        key_file=Path("/keys/id"),
        known_hosts=Path("/keys/known"),
    )
    return Node(name=f"node{index}", ssh=ssh, index=index - 1, **given)


def test_what_is_written_is_read_back(tmp_path):
    nodes = (node(1, control_plane=True, labels={"instance-role": "production"}, gpus=2), node(2))
    path = tmp_path / "inventory.yaml"
    write_inventory(path, nodes)
    assert read_inventory(path) == nodes
    assert path.stat().st_mode & 0o777 == 0o600
    assert [child.name for child in tmp_path.iterdir()] == ["inventory.yaml"]


def test_defaults_relative_paths_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "inventory.yaml"
    path.write_bytes(b"\xef\xbb\xbf- name: a\r\n  address: 192.0.2.1\r\n  key_file: keys/id\r\n")
    (only,) = read_inventory(path, control_dir=tmp_path)
    assert only.ssh.user == "root"
    assert only.ssh.port == 22
    assert only.ssh.key_file == tmp_path / "keys/id"
    assert only.ssh.control_dir == tmp_path
    assert not only.control_plane


def test_every_problem_is_named_at_once(tmp_path):
    path = tmp_path / "inventory.yaml"
    path.write_text(
        "- {name: a, adress: 192.0.2.1}\n"
        "- {name: b, address: 192.0.2.2, port: '22:22'}\n"
        "- {name: c, address: -oProxyCommand=x}\n"
        "- just text\n"
        "- {name: d, address: 192.0.2.4, labels: [x], gpus: -1, control_plane: 'yes'}\n"
    )
    with pytest.raises(InputError) as caught:
        read_inventory(path)
    text = str(caught.value)
    for part in (
        "host 'a': unknown key 'adress', did you mean 'address'?",
        "host 'a': address must be a text",
        "host 'b': port must be a number",
        "host 'c': address must be a text",
        "entry 4 is not a mapping",
        "host 'd': labels must be",
        "host 'd': gpus must be",
        "host 'd': control_plane must be",
    ):
        assert part in text
    assert caught.value.exit_code == 2


def test_a_name_or_address_given_twice_is_refused(tmp_path):
    path = tmp_path / "inventory.yaml"
    path.write_text("- {name: a, address: 192.0.2.1}\n- {name: a, address: 192.0.2.1}\n")
    with pytest.raises(InputError, match=r"name 'a' is given twice; address '192\.0\.2\.1' is given twice"):
        read_inventory(path)


@pytest.mark.parametrize("text", ["", "{}", "[]", "a: [", "just text"])
def test_what_is_no_list_of_hosts_is_refused(tmp_path, text):
    path = tmp_path / "inventory.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=str(path)):
        read_inventory(path)


def test_a_missing_file_or_a_folder_is_refused(tmp_path):
    for path in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read_inventory(path)
