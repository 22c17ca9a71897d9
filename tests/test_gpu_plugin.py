"""The device plugin and the exporter over real gRPC on unix sockets, with a kubelet that a test plays."""

from __future__ import annotations

import json

import pytest

from provisioners.parts.gpu import GPU_MODULE
from provisioners.shell import run
from provisioners.upstream.build import find_go

WANTED = {
    "TestThePluginOffersTheHostsDevices",
    "TestADeviceFallsIllAndGetsWell",
    "TestAnUnreadableStateChangesNothing",
    "TestAContainerGetsItsDevicesByName",
    "TestSlicesShareADeviceAndNobodyGetsTwo",
    "TestAKubeletThatRestartsIsToldAgain",
    "TestAHostThatMakesNoSenseIsRefused",
    "TestTheLoadBecomesUtilisationOfThePodThatCarriesIt",
    "TestALoadThatIsNotKnownMakesNoNumber",
    "TestCountersOfTwoReplicasAreNotMixed",
    "TestWithoutTheKubeletNothingIsSaid",
}


@pytest.mark.live
def test_the_go_tests_pass_and_none_is_left_out():
    go = find_go()
    if not go:
        pytest.skip("no Go toolchain")
    env = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -mod=readonly", "GOMAXPROCS": "1"}
    argv = [go, "test", "-json", "-count=1", "-trimpath", "./..."]
    result = run(argv, timeout_s=600, env=env, cwd=GPU_MODULE.folder)
    rows = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    ended = {row["Test"]: row["Action"] for row in rows if row.get("Test") and row["Action"] != "output"}
    said = "".join(row.get("Output", "") for row in rows)
    assert result.ok, said[-3000:] + result.stderr[-1000:]
    assert set(ended) >= WANTED
    assert set(ended.values()) == {"pass"}
