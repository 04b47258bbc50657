"""How fast would a run be on hardware that is not here, what would wait, and what is the cheapest fix?

    python -m serving.capacity configs/chart_7b.yaml [key=value ...] [--gpu H100]     by stated figures of a GPU
    python -m serving.capacity --run runs/latest [--like OTHER_RUN]                   calibrated from a run's records
    ... --rate 2.5                                                                    open loop: groups a second

Closed loop, unless --rate says otherwise: rollouts feed a learner. Nothing is started.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from configs.command import run
from configs.load import load
from serving.capacity import recorded, stated
from serving.capacity.advise import advise
from serving.capacity.simulate import Found, offered, simulate


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 2 unusable input."""
    parser = argparse.ArgumentParser(prog="python -m serving.capacity", description="Simulate a run's throughput.")
    parser.add_argument("config", nargs="?", help="a YAML file of configs/")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that win over the file")
    parser.add_argument("--gpu", choices=sorted(stated.GPUS), default="H100", help="whose stated figures are taken")
    parser.add_argument("--run", type=Path, help="calibrate from this run's records instead")
    parser.add_argument("--like", type=Path, metavar="RUN", help="with --run: its work on the layout of another run")
    parser.add_argument("--rate", type=float, help="open loop: groups a second that are offered")
    parser.add_argument("--steps", type=int, default=12, help="simulated steps that count")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_intermixed_args(argv)
    if (args.config is None) == (args.run is None):
        parser.error("give either a config or --run RUN")
    return run(lambda: report(args), unusable=(ValueError, OSError))


def report(args: argparse.Namespace) -> None:
    """Print what the simulation says. Raises ConfigError, ValueError."""
    measured, engine_gpus, judge_gpus, learners, gpus = None, 0, 0, 0, 0
    if args.run is not None:
        plan, measured = recorded.plan_of(args.run)
        if args.like is not None:
            other, measured = recorded.plan_of(args.like)
            plan = recorded.relaid(plan, other)
    else:
        config = load(args.config, args.overrides)
        plan = stated.plan_of(config, stated.GPUS[args.gpu])
        own = config.judge.backend == "mllm" and not config.judge.url
        engine_gpus, judge_gpus = config.engine.gpus, config.judge.gpus if own else 0
        learners, gpus = config.learner.workers * config.learner.gpus, stated.gpus_of(config)
    if args.rate is not None:
        show("open loop", offered(plan, args.rate), args.json)
        return
    if args.run is not None:
        found = simulate(plan, args.steps)
        show("closed loop", found, args.json)
        if measured and not args.json:
            print(f"measured: {measured:.2f} s a step ({found.step_s / measured - 1:+.0%})")
        return
    advice = advise(plan, engine_gpus, judge_gpus, learners, args.steps)
    show(f"{gpus} x {args.gpu}, closed loop", advice.now, args.json)
    if not args.json:
        for change, found in advice.then:
            gain = advice.now.step_s / found.step_s - 1
            print(f"  {change.name:44} {found.step_s:8.1f} s a step  {gain:+6.1%}  {change.gpus:4d} more GPU(s)")
        print(f"next bottleneck: {advice.bottleneck}\ncheapest fix: {advice.cheapest}")


def show(title: str, found: Found, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"what": title, **asdict(found)}, indent=2))
        return
    print(
        f"{title}: {found.step_s:.2f} s a step, {found.groups_per_s:.3f} groups a second, a group {found.group_s:.1f} s"
    )
    print(
        f"  learner idle {found.learner_idle:.0%}; staleness {found.staleness:.2f}; dropped as stale {found.stale:.1%}"
    )
    for name in found.busy:
        print(
            f"  {name:7} idle {1 - found.busy[name]:4.0%}  seats filled {found.filled[name]:4.0%}  "
            f"waiting {found.waiting[name]:.1f}"
        )


if __name__ == "__main__":
    sys.exit(main())
