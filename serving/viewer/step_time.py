"""Where a run's steps went: seconds by cause, idle time of both sides, work that was of no use, and the next unit.

Guarantees: computed from the run's own files alone (turns with their beginnings and seconds, the ledger, one line of
figures a step); the causes of a step sum to its seconds.

A step is waiting for a batch, learning, synchronising, saving. The wait is put down to what the member was doing that
ended last in the batch: being sampled, rendered or judged; `tail` from the moment when half of its group had ended;
`admission` before its group was begun; `queue` after it ended. Clocks of different machines are taken to agree.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

import numpy as np

from configs.load import ConfigError, recorded
from configs.schema import Config
from serving.viewer.queueing_model import Demands, Layout, next_units, step_seconds
from serving.viewer.run_folder import RunFolder

PHASES = ("generation", "render", "judge")
CAUSES = (*PHASES, "tail", "admission", "queue", "learner", "sync", "checkpoint", "other")
WARM = 2  # first steps that fill the pipeline and count for nothing, where there are more than twice as many


@dataclass(frozen=True)
class Played:
    """One member: its group, and (phase, from, to, seconds of work, tokens) of all it did."""

    group: int
    began: float
    ended: float
    spans: tuple[tuple[str, float, float, float, int], ...]


def members(group: Mapping[str, Any]) -> Iterator[Played]:
    """The finished members of a recorded group; one of another shape is left out."""
    for member in group["members"]:
        spans = []
        try:
            for turn in member.get("turns", ()):
                at, worked = float(turn["began"]), [0.0, *map(float, turn["worked"])]
                for number, phase in enumerate(PHASES):
                    seconds = float(turn["seconds"][number])
                    tokens = int(turn["sampled"]) if phase == "generation" else 0
                    spans.append((phase, at, at + seconds, min(worked[number], seconds), tokens))
                    at += seconds
            if spans:
                yield Played(int(group["group"]), float(group["began"]), spans[-1][2], tuple(spans))
        except (KeyError, TypeError, ValueError, IndexError):
            continue


def explain(run: RunFolder) -> dict[str, Any]:
    """All that a page or a terminal shows, as plain data; `steps` 0 where there is nothing to explain yet."""
    groups: list[dict[str, Any]] = []
    played: dict[int, list[Played]] = {}
    for group in run.groups():  # one at a time: the texts of a long run do not fit into memory
        played[int(group["group"])] = list(members(group))
        outcomes = [{"outcome": m.get("outcome")} for m in group["members"]]
        groups.append({**{key: group[key] for key in ("group", "state", "step")}, "members": outcomes})
    numbers = [{k: v for k, v in m.items() if type(v) in (int, float)} for m in run.metrics()]
    metrics = [m for m in numbers if {"step", "step_s", "wait_s", "ended_ms"} <= m.keys()]
    states = {int(g["group"]): (g["state"], g["step"]) for g in groups}
    if not metrics or not any(played.values()):
        return {"steps": 0}
    steady = metrics[WARM:] if len(metrics) > 2 * WARM else metrics
    by_step = defaultdict(list)
    for number, (state, step) in states.items():
        if state == "consumed":
            by_step[step].append(played[number])
    rows = [{"step": m["step"], "seconds": m["step_s"], **causes(m, by_step.get(m["step"], []))} for m in metrics]
    span = steady[0]["ended_ms"] / 1000 - steady[0]["step_s"], steady[-1]["ended_ms"] / 1000
    alive = [p for found in played.values() for p in found]
    step_s = fmean(m["step_s"] for m in steady)
    result = {
        "steps": len(metrics),
        "counted": len(steady),
        "step_s": step_s,
        "by_cause": {c: fmean(r[c] for r in rows[-len(steady) :]) for c in CAUSES},
        "by_step": rows,
        "wasted": wasted(groups, played),
    }
    try:
        config = recorded(run.path / "config.yaml")
    except (ConfigError, OSError):
        return result | {"idle": idle(alive, span, steady, None)}
    have = layout(config)
    need = demands(alive, groups, steady, have)
    guess = step_seconds(need, have)
    return result | {
        "idle": idle(alive, span, steady, have),
        "layout": asdict(have),
        "demands": asdict(need),
        "model": guess | {"error": guess["step"] / step_s - 1},
        "next_units": next_units(need, have),
    }


def causes(figures: Mapping[str, Any], batch: Sequence[Sequence[Played]]) -> dict[str, float]:
    """Seconds of one step by cause. `batch`: the members of each of its groups."""
    found = dict.fromkeys(CAUSES, 0.0)
    found["learner"] = (figures.get("prepare_s") or 0.0) + (figures.get("update_s") or 0.0)
    found["sync"], found["checkpoint"] = figures.get("sync_s") or 0.0, figures.get("checkpoint_s") or 0.0
    start = figures["ended_ms"] / 1000 - figures["step_s"]
    end = start + figures["wait_s"]
    last = max((group for group in batch if group), key=lambda g: max(p.ended for p in g), default=None)
    if last is None:
        found["queue"] = figures["wait_s"]
    else:
        slowest = max(last, key=lambda p: p.ended)
        half = median(p.ended for p in last)
        found["admission"] = _overlap(start, end, start, slowest.began)
        found["queue"] = _overlap(start, end, slowest.ended, end)
        found["tail"] = _overlap(start, end, max(half, slowest.began), slowest.ended)
        for phase, a, b, _, _ in slowest.spans:
            found[phase] += _overlap(start, end, a, min(b, half))
    found["other"] = max(0.0, figures["step_s"] - sum(found.values()))
    return found


def _overlap(start: float, end: float, a: float, b: float) -> float:
    return max(0.0, min(end, b) - max(start, a))


def idle(
    alive: Sequence[Played], span: tuple[float, float], steady: Sequence[Mapping[str, Any]], have: Layout | None
) -> dict[str, float]:
    """Share of the time in which the learner waits for a batch, the engine has no request, and the servers of renderer
    and judge do nothing; and how many requests each has on average."""
    seconds = max(1e-9, span[1] - span[0])
    found = {"learner": sum(m["wait_s"] for m in steady) / max(1e-9, sum(m["step_s"] for m in steady))}
    for phase in PHASES:
        spans = sorted((max(a, span[0]), min(b, span[1])) for p in alive for n, a, b, _, _ in p.spans if n == phase)
        spans = [(a, b) for a, b in spans if b > a]
        found[f"{phase}_requests"] = sum(b - a for a, b in spans) / seconds
        busy, until = 0.0, span[0]
        for a, b in spans:
            busy += max(0.0, b - max(a, until))
            until = max(until, b)
        if phase == "generation":
            found["engine"] = 1 - busy / seconds
        elif have is not None:
            inside = [s for p in alive for s in p.spans if s[0] == phase and s[2] > s[1] and span[0] <= s[1] < span[1]]
            servers = have.renderers if phase == "render" else have.judges
            if worked := sum(s[3] for s in inside):  # else it does not tell how long it worked
                found[phase] = max(0.0, 1 - worked / seconds / servers)
    return found


def wasted(groups: Sequence[Mapping[str, Any]], played: Mapping[int, Sequence[Played]]) -> list[dict[str, Any]]:
    """What became of the work, the largest part first: members, tokens and seconds by the state of their group."""
    found: dict[str, dict[str, Any]] = {}
    for group in groups:
        row = found.setdefault(
            str(group["state"]), {"groups": 0, "void": 0, "members": 0, "tokens": 0, **dict.fromkeys(PHASES, 0.0)}
        )
        row["groups"] += 1
        row["members"] += len(played[int(group["group"])])
        row["void"] += sum(m.get("outcome") != "done" for m in group["members"])
        for member in played[int(group["group"])]:
            for phase, a, b, _, tokens in member.spans:
                row[phase] += b - a
                row["tokens"] += tokens
    everything = max(1, sum(row["tokens"] for row in found.values()))
    rows = [{"state": s, **row, "share": row["tokens"] / everything} for s, row in found.items()]
    return sorted(rows, key=lambda row: -row["tokens"])


def layout(config: Config) -> Layout:
    """What a config gives a run. The perceptual judge works on one comparison at a time in each replica."""
    workers = config.renderers
    at_once = config.judge.concurrency if config.judge.asks_model else 1
    return Layout(
        engines=config.engine.replicas,
        renderers=workers.replicas * workers.concurrency,
        judges=config.judge.replicas * at_once,
        learners=config.learner.workers,
        slots=config.rollout.actors * config.rollout.concurrency,
        group_size=config.rollout.group_size,
        groups_per_step=config.queue.groups_per_step,
        max_staleness=config.queue.max_staleness,
    )


def demands(
    alive: Sequence[Played], groups: Sequence[Mapping[str, Any]], steady: Sequence[Mapping[str, Any]], have: Layout
) -> Demands:
    """What a member and a step need, as means of what was measured."""
    count = len(alive)
    worked = {phase: sum(s[3] for p in alive for s in p.spans if s[0] == phase) / count for phase in PHASES}
    ends: dict[int, float] = {}
    for p in alive:
        ends[p.group] = max(ends.get(p.group, 0.0), p.ended)
    asleep = fmean(ends[p.group] - p.began - sum(b - a for _, a, b, _, _ in p.spans) for p in alive)
    judged = fmean(sum(b - a for n, a, b, _, _ in p.spans if n == "judge") for p in alive)
    if not worked["judge"]:  # a judge that does not tell how long it worked: all of it is delay
        asleep += judged
    fixed, each = token_seconds(alive, have.engines)
    final = [g for g in groups if g["state"] not in ("ready", "running")]
    useful = sum(g["state"] == "consumed" for g in final) / max(1, len(final))
    update = fmean(m.get("update_s") or 0.0 for m in steady)
    return Demands(
        tokens=sum(s[4] for p in alive for s in p.spans) / count,
        token_fixed_s=fixed,
        token_each_s=each,
        render_s=worked["render"],
        judge_s=worked["judge"],
        delay_s=max(0.0, asleep),
        useful=useful,
        update_s=update * have.learners,
        fixed_s=fmean(m["step_s"] - m["wait_s"] for m in steady) - update,
    )


def token_seconds(alive: Sequence[Played], engines: int) -> tuple[float, float]:
    """(a, b) of seconds a token = a + b n: least squares over all turns, n the mean number of requests that one engine
    had during the turn."""
    spans = np.array([(s[1], s[2], s[4]) for p in alive for s in p.spans if s[4] and s[2] > s[1]])
    times = np.concatenate([spans[:, 0], spans[:, 1]])
    order = np.argsort(times, kind="stable")
    flow = np.cumsum(np.concatenate([np.ones(len(spans)), -np.ones(len(spans))])[order])
    at = times[order]
    area = np.concatenate([[0.0], np.cumsum(flow[:-1] * np.diff(at))])
    during = (np.interp(spans[:, 1], at, area) - np.interp(spans[:, 0], at, area)) / (spans[:, 1] - spans[:, 0])
    n, y, weight = np.maximum(1.0, during / engines), (spans[:, 1] - spans[:, 0]) / spans[:, 2], spans[:, 2]
    mean_n, mean_y = np.average(n, weights=weight), np.average(y, weights=weight)
    spread = np.average((n - mean_n) ** 2, weights=weight)
    slope = np.average((n - mean_n) * (y - mean_y), weights=weight) / spread if spread > 1e-9 else 0.0
    slope = float(np.clip(slope, 0.0, mean_y / mean_n))  # neither part is negative
    return float(mean_y - slope * mean_n), slope
