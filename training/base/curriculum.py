"""What is taught when: a deterministic plan from the optimiser step to the mixture of kinds, looks and dialogues.

Guarantees: the plan depends on the step alone, so a run that was killed goes on with the batch it would have had. One
kind comes after the other, for kinds mixed from the start teach a model of this size nothing; a new kind gets two
fifths of the batches in the first half of its stage. Looks come after the plain pictures, for the same reason.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from training.base.pictures import SHARD
from training.data.chart_looks import Look
from training.data.synthetic_charts import Split

BATCH = 16
POOL = {"plain": 3000, "mild": 2500, "cosmetic": 3000}  # charts of a kind in a look
LESSON_LOOKS: tuple[Look, ...] = ("plain", "mild")
LESSONS = 60  # charts of a kind in a look that have tool turns
REPAIRS = 250  # charts of a kind in a look that repairs.py has dialogues about


@dataclass(frozen=True)
class Stage:
    """`steps` batches of `size` samples of the kinds known so far; shares of looks, of tool turns and of repairs."""

    steps: int
    kinds: tuple[str, ...]
    new: str | None = None
    mild: float = 0.0
    cosmetic: float = 0.0
    tool: float = 0.0
    repair: float = 0.0
    dialogue: float = 0.0  # of dialogues from repairs.py, in which the feedback decides what is changed
    size: int = BATCH
    charts: int = 1 << 30  # that many of each pool are shown, at most
    rate: tuple[float, float] = (1.0, 1.0)  # of learning, at its start and at its end
    decay: float = 0.0  # of matrices' weights


TWO = ("bar", "barh")
THREE, FOUR = (*TWO, "plot"), (*TWO, "plot", "scatter")
STAGES = (
    Stage(700, ("bar",), "bar"),
    Stage(350, ("bar",), cosmetic=0.5),
    Stage(450, TWO, "barh", cosmetic=0.25),
    Stage(450, TWO, "barh"),
    Stage(600, TWO, rate=(0.5, 0.5), decay=0.1),
    Stage(250, ("bar", "barh", "barh"), rate=(0.4, 0.35), decay=0.1),
    Stage(1000, TWO, mild=0.35, tool=0.12, repair=0.05, rate=(0.35, 0.0), decay=0.1),
    Stage(900, THREE, "plot", mild=0.2, rate=(0.5, 0.5), decay=0.1),
    Stage(900, FOUR, "scatter", mild=0.2, rate=(0.5, 0.45), decay=0.1),
    Stage(1400, FOUR, mild=0.3, rate=(0.45, 0.3), decay=0.1),
    Stage(1800, FOUR, mild=0.35, cosmetic=0.1, tool=0.1, repair=0.06, rate=(0.3, 0.0), decay=0.1),
    Stage(
        1500, FOUR, mild=0.4, cosmetic=0.2, tool=0.1, dialogue=0.45, size=48, charts=1000, rate=(0.3, 0.0), decay=0.1
    ),
)
TOTAL = sum(s.steps for s in STAGES)
READS = TOTAL - STAGES[-1].steps  # what it misreads then is shown to it in the last stage


@dataclass(frozen=True)
class Item:
    """One sample: a picture, by its pool and number, and the form of the dialogue about it."""

    kind: str
    look: Look
    index: int
    form: str  # direct, tool or repair; dialogue: `index` counts the dialogues of repairs.py, whatever their pictures


class Lasting(Protocol):
    """A stage of any course."""

    @property
    def steps(self) -> int: ...


S = TypeVar("S", bound=Lasting)


def stage_at(stages: Sequence[S], step: int) -> tuple[S, float]:
    """The stage of a step and the share of it that is done; after the last one the last, done."""
    for stage in stages:
        if step < stage.steps:
            return stage, step / stage.steps
        step -= stage.steps
    return stages[-1], 1.0


def stage_of(step: int) -> tuple[Stage, float]:
    """The stage of a step and the share of it that is done."""
    return stage_at(STAGES, step)


def batch(step: int, seed: int) -> list[Item]:
    """The samples of one optimiser step."""
    rng = random.Random(f"{seed}/batch/{step}")
    stage, done = stage_of(step)
    items = []
    for _ in range(stage.size):
        if stage.dialogue and rng.random() < stage.dialogue:
            items.append(Item("", "plain", rng.randrange(1 << 30), "dialogue"))
            continue
        boosted = stage.new is not None and done < 0.5 and rng.random() < 0.4
        kind = stage.new if boosted and stage.new else rng.choice(stage.kinds)
        dice = rng.random()
        look: Look = "plain"
        if dice < stage.cosmetic:
            look = "cosmetic"
        elif dice < stage.cosmetic + stage.mild:
            look = "mild"
        size = min(POOL[look], stage.charts)
        if stage.new == kind:
            # the pool opens as it is drawn: a new kind's first batches need not wait for all of its pictures
            size = min(size, 500 + int(done * stage.steps) * 8)
        dice = rng.random() if look in LESSON_LOOKS else 1.0
        form = "repair" if dice < stage.repair else "tool" if dice < stage.repair + stage.tool else "direct"
        items.append(Item(kind, look, rng.randrange(size if form == "direct" else LESSONS), form))
    return items


def learning_rate(step: int, warmup: int = 30) -> float:
    """Share of the full rate: warm-up, then linear within each stage."""
    stage, done = stage_of(step)
    return min(1.0, (step + 1) / warmup) * (stage.rate[0] + (stage.rate[1] - stage.rate[0]) * done)


def needed_shards() -> Iterator[tuple[Split, str, Look, int]]:
    """Every shard that training and its held-out figures need, in the order of first need."""
    seen: set[tuple[str, str]] = set()
    for stage in STAGES:
        looks: list[Look] = ["plain"]
        looks += ["mild"] if stage.mild else []
        looks += ["cosmetic"] if stage.cosmetic else []
        fresh = [(k, look) for look in looks for k in stage.kinds if (k, look) not in seen]
        seen.update(fresh)
        for kind, look in fresh:
            yield "heldout", kind, look, 0
        for number in range(max(POOL.values()) // SHARD):
            for kind, look in fresh:
                if number < POOL[look] // SHARD:
                    yield "train", kind, look, number
