"""The simulator against what is known in closed form, against the queueing model, and on a run's records."""

import math
import random
from dataclasses import replace
from pathlib import Path

import pytest

from configs.load import load
from serving.capacity.__main__ import main
from serving.capacity.advise import advise
from serving.capacity.recorded import plan_of, relaid
from serving.capacity.simulate import Clock, Plan, Replica, Station, offered, simulate
from serving.capacity.stated import GPUS, gpus_of
from serving.capacity.stated import plan_of as stated_plan
from serving.viewer.queueing_model import Demands, Layout, step_seconds
from tests.training.run.made_run import make

ROOT = Path(__file__).parents[3]
ALL = 10**9  # seats enough for everybody


def plan(**changes: object) -> Plan:
    rng = random.Random(1)
    members = tuple(
        ((rng.expovariate(1 / 10), rng.expovariate(1.0), rng.expovariate(1 / 2), 0.0),) for _ in range(2000)
    )
    base = Plan(
        engine=Station(1, ALL, 0.05, 0.01), render=Station(1, 16), judge=Station(1, 16), members=members, slots=16,
        group_size=4, groups_per_step=4, max_staleness=3, update_s=1.0, sync_s=0.5,
    )  # fmt: skip
    return replace(base, **changes)  # type: ignore[arg-type]


def test_requests_share_an_engine_by_its_batching_curve() -> None:
    """Three of 10, 10 and 20 tokens at a + b n = 0.1 + 0.1 n: two end at 10 * 0.4, the third 10 tokens later alone."""
    clock, ends = Clock(), []
    replica = Replica(Station(1, ALL, 0.1, 0.1), clock)
    for tokens in (10.0, 10.0, 20.0):
        replica.serve(tokens, lambda: ends.append(clock.now))
    while clock.step():
        pass
    assert ends == pytest.approx([4.0, 4.0, 6.0])


def test_a_pause_delays_by_as_long_as_it_lasts_and_a_full_engine_serves_in_order() -> None:
    clock, ends = Clock(), []
    replica = Replica(Station(1, 1), clock)
    for seconds in (2.0, 1.0):
        replica.serve(seconds, lambda: ends.append(clock.now))
    clock.after(1.0, lambda: replica.pause(True))
    clock.after(5.0, lambda: replica.pause(False))
    while clock.step():
        pass
    assert ends == pytest.approx([6.0, 7.0])


def test_waiting_agrees_with_erlangs_formula() -> None:
    """M/M/4 at 80% load: requests that wait, C(c, a) rho / (1 - rho)."""
    rng = random.Random(3)
    members = tuple(((0.0, rng.expovariate(1.0), 0.0, 0.0),) for _ in range(20_000))
    servers, rate = 4, 3.2
    found = offered(plan(members=members, render=Station(1, servers), group_size=1), rate, 10_000.0)
    top = rate**servers / math.factorial(servers) / (1 - rate / servers)
    erlang = top / (sum(rate**k / math.factorial(k) for k in range(servers)) + top)
    assert found.filled["render"] == pytest.approx(rate / servers, rel=0.03)
    assert found.waiting["render"] == pytest.approx(erlang * 0.8 / 0.2, rel=0.25)


def test_a_learner_that_is_slow_sets_the_pace_and_one_that_is_fast_waits() -> None:
    slow = simulate(plan(update_s=100.0))
    assert slow.step_s == pytest.approx(100.5) and slow.learner_idle == pytest.approx(0.0, abs=1e-6)
    fast = simulate(plan(update_s=0.0, sync_s=0.0))
    assert fast.learner_idle == pytest.approx(1.0) and fast.step_s < 10


@pytest.mark.parametrize("bound", [0, 1, 3])
def test_nothing_older_than_the_bound_is_trained_on(bound: int) -> None:
    found = simulate(plan(max_staleness=bound, slots=64), steps=30)
    assert found.staleness <= bound
    if bound == 0:
        assert found.step_s > simulate(plan(max_staleness=3, slots=64), steps=30).step_s


@pytest.mark.parametrize("change", [{}, {"render": Station(1, 2)}, {"judge": Station(1, 3)}, {"slots": 8}])
def test_throughput_agrees_with_the_closed_network(change: dict[str, object]) -> None:
    """Without waiting for one another (groups of one) and with a learner that costs nothing."""
    one = plan(group_size=1, groups_per_step=20, max_staleness=50, update_s=0.0, sync_s=0.0, **change)
    work = [sum(m[0][k] for m in one.members) / len(one.members) for k in range(3)]
    need = Demands(work[0], 0.05, 0.01, work[1], work[2], 0.0, 1.0, 0.0, 0.0)
    have = Layout(1, one.render.seats, one.judge.seats, 1, one.slots, 1, 20, 50)
    assert simulate(one, steps=40).step_s == pytest.approx(step_seconds(need, have)["rollouts"], rel=0.06)


def test_a_run_that_can_never_fill_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="stands still"):
        simulate(plan(slots=0))


def test_more_of_the_bottleneck_is_advised_and_what_is_free_is_preferred() -> None:
    found = advise(plan(render=Station(1, 1), update_s=0.1), engine_gpus=1, judge_gpus=0, learners=0)
    assert found.bottleneck == "a quarter more renderers" and "0 more GPU(s)" in found.cheapest
    assert advise(plan(update_s=100.0), 1, 0, 4).bottleneck == "a quarter more learner workers"


def test_a_recorded_run_becomes_a_plan_with_its_own_members(tmp_path: Path) -> None:
    found, measured = plan_of(make(tmp_path / "run", 6))
    assert measured > 0 and found.members and found.groups_per_step > 0
    assert simulate(found, 4).step_s > 0
    assert relaid(found, replace(found, slots=99)).slots == 99


def test_larger_hardware_is_faster_and_a_thousand_gpus_are_simulated() -> None:
    config = load(ROOT / "configs/chart_7b.yaml", [])
    h100, h200 = (simulate(stated_plan(config, GPUS[name]), 6) for name in ("H100", "H200"))
    assert h200.step_s <= h100.step_s
    wide = load(ROOT / "configs/chart_7b.yaml", [
        "engine.replicas=512", "learner.workers=256", "judge.replicas=32", "judge.max_replicas=32",
        "rollout.actors=64", "rollout.concurrency=24", "queue.groups_per_step=512", "render.replicas=64",
        "render.max_replicas=256",
    ])  # fmt: skip
    assert gpus_of(wide) == 1024
    assert simulate(stated_plan(wide, GPUS["H100"]), 1).groups_per_s > 4 * h100.groups_per_s


def test_the_command_names_the_bottleneck(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(ROOT / "configs/chart_7b.yaml"), "--steps", "2"]) == 0
    printed = capsys.readouterr().out
    assert "16 x H100, closed loop" in printed and "next bottleneck: " in printed and "cheapest fix: " in printed
    assert main(["--run", "/nowhere"]) == 2
