"""The keys that compose knows at each place, and the nearest one to a key that it does not know.

They are those of the compose specification and of version 3 files; `x-` keys are allowed
everywhere. A dot separates places, `*` stands for any name, `[]` for the items of a list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_CHANGE = "parallelism delay failure_action monitor max_failure_ratio order"
_FILE_REF = "source target uid gid mode"

KEYS: dict[str, frozenset[str]] = {
    place: frozenset(words.split())
    for place, words in {
        "": "version name include services models jobs networks volumes secrets configs",
        "services.*": "annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent "
        "command configs container_name cpu_count cpu_percent cpu_period cpu_quota "
        "cpu_rt_period cpu_rt_runtime cpu_shares cpus cpuset credential_spec depends_on "
        "deploy develop device_cgroup_rules devices dns dns_opt dns_search domainname "
        "entrypoint env_file environment expose extends external_links extra_hosts gpus "
        "group_add healthcheck hostname image init ipc isolation label_file labels links "
        "logging mac_address mem_limit mem_reservation mem_swappiness memswap_limit "
        "models network_mode networks oom_kill_disable oom_score_adj pid pids_limit "
        "platform ports post_start pre_start pre_stop privileged profiles provider pull_policy "
        "pull_refresh_after read_only restart runtime scale secrets security_opt shm_size "
        "stdin_open stop_grace_period stop_signal storage_opt sysctls tmpfs tty ulimits umask "
        "use_api_socket user userns_mode uts volumes volumes_from working_dir "
        "volume_driver net log_driver log_opt",
        "services.*.deploy": "mode endpoint_mode replicas labels rollback_config update_config resources "
        "restart_policy placement",
        "services.*.deploy.update_config": _CHANGE,
        "services.*.deploy.rollback_config": _CHANGE,
        "services.*.deploy.resources": "limits reservations",
        "services.*.deploy.resources.limits": "cpus memory pids",
        "services.*.deploy.resources.reservations": "cpus memory generic_resources devices",
        "services.*.deploy.resources.reservations.devices[]": "capabilities count device_ids driver options",
        "services.*.deploy.resources.reservations.generic_resources[]": "discrete_resource_spec",
        "services.*.deploy.resources.reservations.generic_resources[].discrete_resource_spec": "kind value",
        "services.*.deploy.restart_policy": "condition delay max_attempts window",
        "services.*.deploy.placement": "constraints preferences max_replicas_per_node",
        "services.*.deploy.placement.preferences[]": "spread",
        "services.*.healthcheck": "disable interval retries test timeout start_period start_interval",
        "services.*.logging": "driver options",
        "services.*.ports[]": "name mode host_ip target published protocol app_protocol",
        "services.*.volumes[]": "type source target read_only consistency bind volume tmpfs image",
        "services.*.volumes[].bind": "propagation create_host_path recursive selinux",
        "services.*.volumes[].volume": "labels nocopy subpath",
        "services.*.volumes[].tmpfs": "size mode",
        "services.*.volumes[].image": "subpath",
        "services.*.secrets[]": _FILE_REF,
        "services.*.configs[]": _FILE_REF,
        "services.*.networks.*": "aliases interface_name ipv4_address ipv6_address link_local_ips "
        "mac_address driver_opts priority gw_priority",
        "services.*.depends_on.*": "condition restart required",
        "services.*.env_file[]": "path required format",
        "services.*.build": "additional_contexts args cache_from cache_to context dockerfile "
        "dockerfile_inline entitlements extra_hosts isolation labels network no_cache "
        "platforms privileged provenance pull sbom secrets shm_size ssh tags target "
        "ulimits",
        "networks.*": "name driver driver_opts ipam external internal enable_ipv4 enable_ipv6 "
        "attachable labels",
        "networks.*.ipam": "driver config options",
        "networks.*.ipam.config[]": "subnet ip_range gateway aux_addresses",
        "networks.*.external": "name",
        "volumes.*": "name driver driver_opts external labels",
        "volumes.*.external": "name",
        "secrets.*": "name environment file external labels driver driver_opts template_driver content",
        "secrets.*.external": "name",
        "configs.*": "name content environment file external labels template_driver",
        "configs.*.external": "name",
    }.items()
}  # fmt: skip


def strange(place: str, keys: Iterable[str]) -> list[str]:
    """Return the keys that compose does not know at the place; anything goes where no table says."""
    allowed = KEYS.get(place)
    return [] if allowed is None else [key for key in keys if key not in allowed and not key.startswith("x-")]


def nearest(place: str, key: str) -> str:
    """Return `, did you mean ...?` for an unknown key, or nothing when no known key is near."""
    import difflib

    found = difflib.get_close_matches(key, sorted(KEYS.get(place, ())), 1)
    return f", did you mean `{found[0]}`?" if found else ""


def home_of(key: str, place: str) -> str:
    """Return the place below or beside `place` where compose does know the key, or nothing."""
    parent = place.rpartition(".")[0]
    homes = [other for other, keys in KEYS.items() if key in keys and other.startswith(f"{place}.")]
    homes += [other for other, keys in KEYS.items() if key in keys and other == parent]
    return homes[0].rpartition(".")[2] if homes else ""
