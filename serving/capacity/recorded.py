"""A plan calibrated from a run's own records: what each member did, how engines slow down, what a step costs.

Guarantees: members are the recorded ones, turn by turn, with their lengths together as they were; nothing is fitted to
the figure that is predicted. A turn's work for the engine is its seconds over the seconds a unit of work took under the
load of that moment, so it includes its prompt.
"""

import bisect
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from configs.load import recorded
from serving.capacity.simulate import Member, Plan, Station, Turn
from serving.viewer.queueing_model import Layout
from serving.viewer.run_folder import RunFolder
from serving.viewer.step_time import Played, explain, members

UNIT_S = 1.0  # work is in seconds of an engine that has one request


def plan_of(path: Path) -> tuple[Plan, float]:
    """The plan of a finished run's folder, and its measured seconds a step. Raises ValueError where it has no trace,
    ConfigError where its config cannot be read."""
    run = RunFolder(path)
    run.refresh()
    found = explain(run)
    if not found["steps"] or "layout" not in found:
        raise ValueError(f"{path}: no finished step with a trace (metrics.jsonl, trajectories/) and a config.yaml")
    have, need = Layout(**found["layout"]), found["demands"]
    config = recorded(path / "config.yaml")
    played = [member for group in run.groups() for member in members(group)]
    slowing = need["token_each_s"] / (need["token_fixed_s"] + need["token_each_s"])
    loads = _loads(played, have.engines)
    plan = Plan(
        engine=Station(have.engines, config.engine.max_num_seqs, UNIT_S - slowing, slowing),
        render=Station(1, have.renderers),
        judge=Station(1, have.judges),
        members=tuple(_member(member, loads, slowing, have.engines) for member in played),
        slots=have.slots,
        group_size=have.group_size,
        groups_per_step=have.groups_per_step,
        max_staleness=have.max_staleness,
        update_s=need["update_s"] / have.learners + max(0.0, need["fixed_s"] - _mean(run, "sync_s")),
        sync_s=_mean(run, "sync_s"),
        pause_s=_mean(run, "sync_pause_s"),
        useful=max(0.05, need["useful"] if config.queue.drop_zero_variance else 1.0),
    )
    return plan, float(found["step_s"])


def relaid(plan: Plan, other: Plan) -> Plan:
    """The work of `plan` on the layout of `other`."""
    return replace(
        plan,
        engine=replace(plan.engine, replicas=other.engine.replicas, seats=other.engine.seats),
        render=replace(plan.render, replicas=other.render.replicas, seats=other.render.seats),
        judge=replace(plan.judge, replicas=other.judge.replicas, seats=other.judge.seats),
        slots=other.slots,
        group_size=other.group_size,
        groups_per_step=other.groups_per_step,
        max_staleness=other.max_staleness,
        update_s=plan.update_s * other.groups_per_step * other.group_size / (plan.groups_per_step * plan.group_size),
    )


def _member(played: Played, loads: dict[int, float], slowing: float, engines: int) -> Member:
    """Its turns; the seconds between two spans are the rollout actor's own."""
    turns: list[Turn] = []
    at = played.began
    for number in range(0, len(played.spans), 3):
        spans = played.spans[number : number + 3]
        sampled, render, judge = spans
        load = max(1.0, loads.get(id(sampled), 1.0) / engines)
        work = (sampled[2] - sampled[1]) / (UNIT_S - slowing + slowing * load)
        turns.append((work, render[3], judge[3] or judge[2] - judge[1], max(0.0, sampled[1] - at)))
        at = judge[2]
    return tuple(turns)


def _loads(played: list[Played], engines: int) -> dict[int, float]:
    """For each sampled turn, how many were being sampled in the middle of it."""
    events: list[tuple[float, int]] = []
    spans = [s for member in played for s in member.spans if s[0] == "generation"]
    for span in spans:
        events += [(span[1], 1), (span[2], -1)]
    at: dict[float, int] = defaultdict(int)
    level, times = 0, []
    for when, change in sorted(events):
        level += change
        at[when] = level
        times.append(when)
    return {id(s): float(at[times[max(0, bisect.bisect(times, (s[1] + s[2]) / 2) - 1)]]) for s in spans}


def _mean(run: RunFolder, key: str) -> float:
    rows: list[dict[str, Any]] = [row for row in run.metrics() if row.get(key) is not None]
    return fmean(row[key] for row in rows) if rows else 0.0
