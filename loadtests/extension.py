"""Whether a run is made longer: when the hypervisor took too many of its windows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtests.windows import cut

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtests.plan import LoadPlan


def extra_rounds(plan: LoadPlan, rounds: int, steal: Callable[[int, int], float]) -> int:
    """Return how many rounds would help a run that lost too many judged windows to the hypervisor.

    `steal` gives the stolen share of rounds [first, end). A run that was planned too short for
    its windows is not made longer for that, and one whose rate changes, or that several
    processes send, is never.
    """
    profile = plan.profile
    if plan.most_rounds == plan.measured_rounds:
        return 0
    needs = plan.judged_needs()
    for need in needs:
        windows = cut(rounds, need)
        lost = sum(steal(first, end) > profile.max_window_steal for first, end in windows)
        too_many = lost > profile.max_lost_windows * len(windows)
        too_few_left = len(windows) - lost < min(profile.min_windows, plan.measured_rounds // need)
        if lost and (too_many or too_few_left):
            return max(needs)
    return 0
