"""The remote kubeconfig is closed to others, and TLS is verified by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fixtures.kubeconfig import Kubeconfig
    from fixtures.record import Record


@pytest.mark.criterion("phase1.kubeconfig")
def test_only_its_owner_reads_it(kubeconfig: Kubeconfig, record: Record) -> None:
    record(observed=f"{kubeconfig.mode:04o}", samples=1, path=str(kubeconfig.path))
    assert kubeconfig.mode & 0o077 == 0, f"{kubeconfig.path} is {kubeconfig.mode:04o}; it must be 0600"


@pytest.mark.criterion("phase1.kubeconfig")
def test_tls_is_verified(kubeconfig: Kubeconfig, record: Record) -> None:
    server = kubeconfig.server
    record(observed=server, samples=1, context=kubeconfig.context)
    assert server.startswith("https://"), f"{kubeconfig.path}: server {server!r} is not https"
    assert not kubeconfig.insecure, f"{kubeconfig.path}: insecure-skip-tls-verify is set"
    assert kubeconfig.authority, f"{kubeconfig.path}: holds no certificate authority"
    why = kubeconfig.handshake()
    assert not why, f"{server}: {why}; give the server's certificate that name (--tls-san)"
    # Control: without the file's authority the same server must not be believed.
    assert kubeconfig.handshake(trusted=False), f"{server} is believed without its authority"
