"""What limits a plan, and the cheapest change that helps: the plan simulated again with a quarter more of each part.

Guarantees: all variants meet the same members and the same chances; a change is named with the GPUs that it costs.
"""

import math
from dataclasses import dataclass, replace

from serving.capacity.simulate import Found, Plan, Station, simulate

MORE = 1.25
WORTH = 0.03  # gain of a step below which a change is not worth naming


@dataclass(frozen=True)
class Change:
    """A quarter more of one part."""

    name: str
    plan: Plan
    gpus: int


@dataclass(frozen=True)
class Advice:
    """The plan's figures and those of each change, the fastest first."""

    now: Found
    then: tuple[tuple[Change, Found], ...]

    @property
    def bottleneck(self) -> str:
        change, found = self.then[0]
        return change.name if found.step_s < (1 - WORTH) * self.now.step_s else "nothing alone: parts are in balance"

    @property
    def cheapest(self) -> str:
        """Of the changes that bring half of the best one's gain, the one with the fewest GPUs."""
        best = self.now.step_s - self.then[0][1].step_s
        if best < WORTH * self.now.step_s:
            return "leave it"
        good = [(c, f) for c, f in self.then if self.now.step_s - f.step_s >= best / 2]
        change, found = min(good, key=lambda pair: pair[0].gpus)
        return f"{change.name}: {found.step_s:.1f} s a step, {change.gpus} more GPU(s)"


def advise(plan: Plan, engine_gpus: int, judge_gpus: int, learners: int, steps: int = 12) -> Advice:
    """`engine_gpus`, `judge_gpus`: of one replica; `learners`: workers, a GPU each."""
    engines, judges = _more(plan.engine), _more(plan.judge)
    seats = replace(plan.judge, seats=math.ceil(plan.judge.seats * MORE))
    changes = [
        Change(
            "a quarter more engines",
            replace(plan, engine=engines),
            engine_gpus * (engines.replicas - plan.engine.replicas),
        ),
        Change(
            "a quarter more judges", replace(plan, judge=judges), judge_gpus * (judges.replicas - plan.judge.replicas)
        ),
        Change("a quarter more questions at once to a judge", replace(plan, judge=seats), 0),
        Change("a quarter more renderers", replace(plan, render=_more(plan.render)), 0),
        Change("a quarter more groups under way", replace(plan, slots=math.ceil(plan.slots * MORE)), 0),
        Change("one more version of staleness", replace(plan, max_staleness=plan.max_staleness + 1), 0),
    ]
    if learners:
        more = math.ceil(learners * MORE)
        changes.append(
            Change(
                "a quarter more learner workers",
                replace(plan, update_s=plan.update_s * learners / more),
                more - learners,
            )
        )
    then = [(change, simulate(change.plan, steps)) for change in changes]
    return Advice(simulate(plan, steps), tuple(sorted(then, key=lambda pair: pair[1].step_s)))


def _more(station: Station) -> Station:
    if station.replicas == 1 and station.fixed_s == 1.0:  # one pool of servers
        return replace(station, seats=math.ceil(station.seats * MORE))
    return replace(station, replicas=math.ceil(station.replicas * MORE))
