"""Profiles, targets, plan and schedule: refused early, balanced, repeatable, bounded."""

import itertools
import json
import math
from collections import Counter
from typing import Any

import pytest

from fixtures.load import reference_server
from fixtures.mcp_server.table import SERVERS
from loadtests.addresses import check_addresses, check_urls
from loadtests.errors import LoadInputError, LoadRefused
from loadtests.extension import extra_rounds
from loadtests.host import Tick, cpu_share, parse_cpus, read_tick, steal_share
from loadtests.plan import LoadPlan, load_plan, make_plan
from loadtests.profile import (
    CUTOVER,
    EMBED,
    HEALTH,
    NIGHTLY,
    PROFILES,
    READ,
    SESSION,
    SESSION_CALLS,
    SLOW,
    SMOKE,
    STREAM,
    TOOLS_CALL,
    TOOLS_LIST,
    WORKLOADS,
    LoadProfile,
    LoadTargets,
    Server,
    ToolCall,
    profile_named,
)
from loadtests.schedule import Course, Slot
from loadtests.shape import SHAPES, mean_factor
from loadtests.windows import cut, rounds_needed, samples_needed
from loadtests.workloads import is_rpc, is_tool_call, steps_of


def server(url: str, name: str = "one") -> Server:
    return Server(name, url, "http://127.0.0.1:1")


def plan(servers: int = 16, **fields: Any) -> LoadPlan:
    values: dict[str, Any] = {
        "name": "test",
        "rate_per_s": 120.0,
        "duration_s": 60.0,
        "warmup_s": 8.0,
        "seed": 7,
    } | fields
    targets = LoadTargets(tuple(server("http://127.0.0.1:1", f"s{i}") for i in range(servers)))
    return make_plan(LoadProfile(**values), targets)


@pytest.mark.parametrize("name", ["rate_per_s", "duration_s", "timeout_s", "drop_after_s"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_numbers_that_cannot_be_sent_are_input_errors(name, value):
    with pytest.raises(LoadInputError, match=name) as caught:
        plan(**{name: value})
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"warmup_s": -1.0},
        {"workloads": ()},
        {"workloads": (("deploi", 1),)},
        {"workloads": (("health", 1), ("health", 2))},
        {"workloads": (("health", 0),)},
        {"quantiles": ()},
        {"quantiles": (1.0,)},
        {"senders_per_side": 0},
        {"max_extension": 3.0},
        {"shape": "sine"},
        {"advisory": ("stream",)},
        {"server_quantiles": (0.0,)},
    ],
)
def test_profiles_that_make_no_sense_are_input_errors(fields):
    with pytest.raises(LoadInputError):
        plan(**fields)


def test_no_server_and_twice_the_same_are_input_errors():
    with pytest.raises(LoadInputError):
        LoadTargets(())
    with pytest.raises(LoadInputError, match="twice"):
        LoadTargets((server("http://127.0.0.1:1"), server("http://127.0.0.1:2")))


@pytest.mark.parametrize(
    "url",
    [
        "http://8.8.8.8:80",
        "http://example.com",
        "http://localhost.example.com",
        "http://172.31.0.1:1",
        "http://[2001:db8::1]",
    ],
)
def test_addresses_that_nobody_allowed_are_refused(url):
    with pytest.raises(LoadRefused, match="one on swarm") as caught:
        check_addresses(LoadTargets((server(url),), allowed=("172.30.0.0/24",)))
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    "url",
    [
        "http://127.9.9.9:80",
        "http://[::1]:80",
        "http://localhost",
        "http://172.30.0.7:1",
        "http://Named.example:1",
    ],
)
def test_loopback_and_allowed_addresses_may_be_loaded(url):
    check_addresses(LoadTargets((server(url),), allowed=("172.30.0.0/24", "named.example")))


@pytest.mark.parametrize(
    "url", ["", "ftp://127.0.0.1", "127.0.0.1:80", "http://127.0.0.1:99999", "http://u:p@127.0.0.1"]
)
def test_what_is_no_url_is_an_input_error(url):
    with pytest.raises(LoadInputError):
        check_addresses(LoadTargets((server(url),)))


def test_windows_hold_what_their_quantile_needs():
    assert [samples_needed(q) for q in (0.5, 0.95, 0.99)] == [20, 200, 1000]
    assert rounds_needed(0.95, 16) == 13
    assert cut(112, 13) == [(i * 14, (i + 1) * 14) for i in range(8)]
    assert cut(12, 13) == []
    for rounds, need in itertools.product(range(1, 60), range(1, 9)):
        windows = cut(rounds, need)
        assert all(end - first >= need for first, end in windows)
        assert [first for first, _ in windows[1:]] == [end for _, end in windows[:-1]]
        assert not windows or (windows[0][0], windows[-1][1]) == (0, rounds)


def test_smoke_holds_enough_windows_for_sixteen_servers():
    smoke = make_plan(SMOKE, LoadTargets(tuple(server("http://127.0.0.1:1", f"s{i}") for i in range(16))))
    for need in smoke.window_rounds().values():
        assert len(cut(smoke.measured_rounds, need)) >= SMOKE.min_windows
    assert abs(smoke.measured_rounds * smoke.round_ns / 1e9 - 60) < 1


def test_every_round_is_balanced_and_every_pair_is_one_server_and_workload():
    made = plan(servers=5, workloads=(("health", 2), ("tools/call", 1)), duration_s=3.0, warmup_s=1.0)
    course = Course(made, lambda _rounds: 0)
    sides = [list(course.slots(side)) for side in (0, 1)]
    slots = sorted(sides[0] + sides[1], key=lambda slot: slot.offset_ns)
    rounds = made.warmup_rounds + made.measured_rounds
    assert len(slots) == 2 * made.pairs_per_round * rounds
    for first, second in itertools.pairwise(slots):
        assert made.slot_ns / 2 <= second.offset_ns - first.offset_ns <= 1.5 * made.slot_ns + 1
    for number in range(rounds):
        inside = slots[number * 30 : (number + 1) * 30]
        counts = Counter((slot.side, slot.server, slot.workload) for slot in inside)
        assert set(counts.values()) == {1, 2}
        assert all(counts[side, one, 0] == 2 for side in (0, 1) for one in range(5))
        assert {slot.warmup for slot in inside} == {number < made.warmup_rounds}
        starts = Counter(slot.side for slot in inside[::2])
        assert abs(starts[0] - starts[1]) <= 1
        for one, two in zip(inside[::2], inside[1::2], strict=True):
            assert one.side != two.side
            assert (one.pair, one.server, one.workload) == (two.pair, two.server, two.workload)
    visits = [[slot.server for slot in slots[n * 30 : (n + 1) * 30]] for n in range(2)]
    assert visits[0] != visits[1], "the order is drawn anew each round"


def test_a_seed_repeats_a_schedule_and_another_gives_another():
    def drawn(seed: int) -> list[Slot]:
        return list(Course(plan(duration_s=1.0, seed=seed), lambda _rounds: 0).slots(0))

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert (
        make_plan(SMOKE, LoadTargets((server("http://127.0.0.1:1"),))).seed
        != make_plan(SMOKE, LoadTargets((server("http://127.0.0.1:1"),))).seed
    )


def test_a_course_is_extended_for_both_sides_and_at_most_to_twice_its_length():
    made = plan(duration_s=2.0, warmup_s=0.0, servers=2)
    asked = []

    def always(rounds):
        asked.append(rounds)
        return 3

    course = Course(made, always)
    sides = [list(course.slots(side)) for side in (0, 1)]
    assert course.rounds == 2 * made.measured_rounds
    assert [slot.pair for slot in sorted(sides[0], key=lambda s: s.pair)] == list(range(len(sides[1])))
    assert len(sides[0]) == len(sides[1]) == 2 * made.measured_rounds * made.pairs_per_round
    assert asked[0] == made.measured_rounds


def test_windows_lost_to_the_hypervisor_ask_for_more_rounds():
    made = plan()
    rounds = made.measured_rounds
    assert extra_rounds(made, rounds, lambda _first, _end: 0.0) == 0
    assert extra_rounds(made, rounds, lambda _first, _end: 0.03) == 13
    assert extra_rounds(made, rounds, lambda first, _end: 0.03 if first == 0 else 0.0) == 13, "7 of 8 left"
    assert extra_rounds(made, rounds + 13, lambda first, _end: 0.03 if first == 0 else 0.0) == 0
    short = plan(duration_s=1.0)
    assert extra_rounds(short, short.measured_rounds, lambda _first, _end: 0.0) == 0


def test_a_plan_is_read_back_as_it_was_written(tmp_path):
    made = plan(servers=2, workloads=(("tools/call", 3),))
    made.save(tmp_path)
    assert load_plan(tmp_path) == made
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(LoadInputError, match=r"plan\.json"):
        load_plan(tmp_path)


def test_cpu_lists():
    assert parse_cpus("0") == {0}
    for text in ("", "x", "1-", "0-4096"):
        with pytest.raises(LoadInputError):
            parse_cpus(text)


def test_steal_and_cpu_are_read_off_between_ticks(tmp_path):
    ticks = [Tick(0, 0, 0, 0), Tick(10**9, 0, 200, 10**8), Tick(2 * 10**9, 20, 400, 10**9)]
    assert steal_share(ticks, 0, 10**9) == 0.0
    assert steal_share(ticks, 10**9, 2 * 10**9) == pytest.approx(0.1)
    assert steal_share(ticks, 5 * 10**8, 15 * 10**8) == pytest.approx(0.05)
    assert cpu_share(ticks, 10**9, 2 * 10**9) == pytest.approx(0.9)
    assert steal_share([], 0, 1) == 0.0
    stat = tmp_path / "stat"
    stat.write_text("cpu  1 2 3 4 5 6 7 8 100 100\ncpu0 1\n")
    assert (read_tick(stat).steal_jiffies, read_tick(stat).total_jiffies) == (8, 36)
    assert read_tick(tmp_path / "none").total_jiffies == 0


def fleet() -> LoadTargets:
    url = "http://127.0.0.1:1"
    return LoadTargets(tuple(reference_server(name, url, url) for name in SERVERS))


def slots_of(made: LoadPlan) -> list[Slot]:
    course = Course(made, lambda _rounds: 0)
    return sorted((*course.slots(0), *course.slots(1)), key=lambda slot: slot.offset_ns)


def test_smoke_is_what_the_labs_go_depends_on():
    assert (SMOKE.rate_per_s, SMOKE.duration_s, SMOKE.warmup_s, SMOKE.seed) == (160.0, 60.0, 8.0, None)
    assert SMOKE.workloads == ((HEALTH, 1), (TOOLS_CALL, 1))
    assert (SMOKE.quantiles, SMOKE.server_quantiles, SMOKE.advisory) == ((0.5, 0.95), (), ())
    assert (SMOKE.shape, SMOKE.max_extension, SMOKE.senders_per_side) == ("steady", 2.0, 48)


@pytest.mark.parametrize("profile", [NIGHTLY, CUTOVER])
def test_nightly_has_windows_for_each_servers_p50_and_the_pooled_p99(profile):
    made = make_plan(profile, fleet())
    rounds = made.measured_rounds
    per_server = made.server_window_rounds()
    assert {(name, workload) for name, workload, _ in per_server} == {
        (name, workload) for name in SERVERS for workload in (HEALTH, TOOLS_CALL)
    }
    assert {q for _, _, q in per_server} == {0.5}
    assert min(len(cut(rounds, need)) for need in per_server.values()) >= 2 * profile.min_windows
    pooled = made.window_rounds()
    judged = {key: need for key, need in pooled.items() if key[0] in (HEALTH, TOOLS_CALL)}
    assert {q for _, q in judged} == {0.5, 0.95, 0.99}
    assert min(len(cut(rounds, need)) for need in judged.values()) >= profile.min_windows
    assert {name for name, _ in pooled} == {name for name, _ in profile.workloads}
    assert made.judged_needs() == set(judged.values()) | set(per_server.values())


def test_every_workload_is_in_nightly_and_a_server_is_visited_by_those_it_has_a_tool_for():
    made = make_plan(NIGHTLY, fleet())
    assert {name for name, _ in NIGHTLY.workloads} == set(WORKLOADS)
    index = {name: place for place, (name, _) in enumerate(made.profile.workloads)}
    first = itertools.chain(
        *(itertools.islice(Course(made, lambda _: 0).slots(side), made.pairs_per_round) for side in (0, 1))
    )
    counts = Counter((slot.server, slot.workload) for slot in first)
    embeds = [place for place, workload in counts if workload == index[EMBED]]
    assert [made.servers[place].name for place in embeds] == ["ai-memory"]
    for place in range(16):
        for workload, weight in made.profile.workloads:
            wanted = 2 * weight if workload != EMBED or place in embeds else 0
            assert counts[place, index[workload]] == wanted
    plain = make_plan(NIGHTLY, LoadTargets((server("http://127.0.0.1:1"),)))
    assert [name for name, _ in plain.profile.workloads] == [HEALTH, TOOLS_CALL, TOOLS_LIST, SESSION]
    assert set(plain.profile.advisory) == {TOOLS_LIST, SESSION}


def test_a_server_may_have_weights_of_its_own():
    url = "http://127.0.0.1:1"
    heavy = Server("heavy", url, url, weights={TOOLS_CALL: 5, HEALTH: 0})
    made = make_plan(LoadProfile("w", 100, 5, 0, seed=1), LoadTargets((heavy, server(url))))
    counts = Counter((slot.server, slot.workload) for slot in slots_of(made)[: 2 * made.pairs_per_round])
    assert counts == {(0, 1): 10, (1, 0): 2, (1, 1): 2}
    assert made.window_rounds()[HEALTH, 0.5] == 20
    assert made.window_rounds()[TOOLS_CALL, 0.5] == 4
    for fields in ({"weights": {"deploi": 1}}, {"weights": {HEALTH: -1}}, {"calls": {"x": ToolCall("x")}}):
        with pytest.raises(LoadInputError, match="bad"):
            Server("bad", url, url, **fields)
    nothing = Server("one", url, url, weights={TOOLS_CALL: 0, HEALTH: 0})
    with pytest.raises(LoadInputError, match="no server offers"):
        make_plan(SMOKE, LoadTargets((nothing,)))


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_a_shape_is_a_rate_over_time(shape):
    profile = LoadProfile("s", 200, 20, 2, shape=shape, seed=3)
    made = make_plan(profile, LoadTargets((server("http://127.0.0.1:1"),)))
    slots = slots_of(made)
    times_s = [slot.offset_ns / 1e9 for slot in slots]
    assert times_s == sorted(times_s)
    begin_s = made.round_start_ns(made.warmup_rounds) / 1e9
    assert begin_s == pytest.approx(2, abs=0.5)
    assert all(slot.warmup == (slot.offset_ns / 1e9 < begin_s) for slot in slots)
    judged = [at - begin_s for at in times_s if at >= begin_s]
    assert len(judged) == pytest.approx(200 * 20 * mean_factor(shape), rel=0.01)
    assert judged[-1] == pytest.approx(20, abs=0.3)
    begin = 0.0
    for stage in SHAPES[shape]:
        end = begin + stage.share * 20
        inside = sum(begin <= at < end for at in judged)
        assert inside == pytest.approx(200 * stage.share * 20 * stage.mean, rel=0.03)
        begin = end
    assert made.flat or made.most_rounds == made.measured_rounds, "a rate that changes is not extended"


def test_an_unknown_profile_is_an_input_error_that_names_the_known_ones():
    assert profile_named("spike") is PROFILES["spike"]
    with pytest.raises(LoadInputError, match="smoke, nightly, cutover"):
        profile_named("nigthly")


def test_parts_of_a_plan_are_its_slots_dealt_out_by_pairs(tmp_path):
    whole = plan(servers=3, duration_s=3.0, warmup_s=1.0)
    parts = [whole.part_of(part, 3) for part in range(3)]
    dealt = [slots_of(part) for part in parts]
    assert sorted(itertools.chain(*dealt), key=lambda slot: slot.offset_ns) == slots_of(whole)
    assert all({slot.pair % 3 for slot in slots} == {part} for part, slots in enumerate(dealt))
    for slots in dealt:
        assert Counter(slot.side for slot in slots)[0] * 2 == len(slots), "both slots of a pair"
    assert parts[0].most_rounds == whole.measured_rounds < whole.most_rounds
    assert extra_rounds(parts[0], whole.measured_rounds, lambda _first, _end: 1.0) == 0
    parts[1].save(tmp_path)
    assert load_plan(tmp_path) == parts[1]


def test_a_plan_with_tools_and_weights_is_read_back(tmp_path):
    made = make_plan(NIGHTLY, fleet())
    made.save(tmp_path)
    assert load_plan(tmp_path) == made


def test_each_workload_is_requests_with_an_id_that_can_be_filled_in():
    ours = reference_server("ai-memory", "http://127.0.0.1:1", "http://127.0.0.1:1")
    for workload in WORKLOADS:
        steps = steps_of(ours, workload)
        assert len(steps) == (2 + SESSION_CALLS if workload == SESSION else 1)
        last = steps[-1]
        assert last.has_id == is_rpc(workload)
        if last.has_id:
            message = json.loads(last.payload(77))
            assert (message["jsonrpc"], message["id"]) == ("2.0", 77)
            assert (message["method"] == "tools/call") == is_tool_call(workload)
    assert steps_of(ours, HEALTH)[0].path == "/health"
    assert steps_of(ours, STREAM)[0].path == "/mcp/stream"
    assert b"ai_memory_embed" in steps_of(ours, EMBED)[0].payload(1)
    assert b"ai_memory_search" in steps_of(ours, READ)[0].payload(1)
    with pytest.raises(LoadInputError, match="no tool for"):
        steps_of(server("http://127.0.0.1:1"), SLOW)


def test_single_urls_are_checked_like_targets():
    check_urls(["http://127.0.0.1:80", "http://box.example"], ("box.example",))
    with pytest.raises(LoadRefused, match=r"http://192\.0\.2\.1"):
        check_urls(["http://127.0.0.1:80", "http://192.0.2.1"], ())
