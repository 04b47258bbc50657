"""The course in charts: samples of the curriculum, and what is read of held-out charts.

Guarantees: the batch of a step depends on the step and the seed alone, however long training takes.
"""

import json
import math
from collections import defaultdict
from typing import Any

from torch import Tensor

from training.base import curriculum, lessons, repairs
from training.base.curriculum import Item
from training.base.pictures import Pools
from training.base.teach import Sample, Teacher
from training.data.chart_looks import Look


class Charts:
    """A course over the charts of `pools`. `shuffled`: every training chart comes with another's picture."""

    every = 250

    def __init__(self, pools: Pools, seed: int, shuffled: bool = False) -> None:
        self.pools, self.seed, self.shuffled = pools, seed, shuffled
        self.lessons: dict[tuple[str, str, int, str], dict[str, str]] = {}
        self.repairs: list[dict[str, Any]] = []

    def loss(self, teacher: Teacher, step: int) -> tuple[Tensor, int]:
        return teacher.loss([self.sample(item, "train") for item in curriculum.batch(step, self.seed)])

    def rate(self, step: int) -> tuple[float, float]:
        return curriculum.learning_rate(step), curriculum.stage_of(step)[0].decay

    def held_out(self, teacher: Teacher, step: int) -> dict[str, Any]:
        stage, _ = curriculum.stage_of(step - 1)
        looks: tuple[Look, ...] = ("plain",)
        looks += ("mild",) if stage.mild else ()
        looks += ("cosmetic",) if stage.cosmetic else ()
        return {f"{kind}/{look}": self._read(teacher, kind, look) for kind in stage.kinds for look in looks}

    def sample(self, item: Item, split: str) -> Sample:
        tried: tuple[dict[str, Any], ...] = ()
        answer, last = "", False
        if item.form == "dialogue":
            dialogue = self.dialogue(item.index)
            item = Item(dialogue["kind"], dialogue["look"], dialogue["index"], "dialogue")
            tried, answer, last = tuple(dialogue["turns"]), dialogue["answer"], dialogue["last"]
        found = self.pools.chart(split, item.kind, item.look, item.index)  # type: ignore[arg-type]
        seen = item.index ^ (self.shuffled and split == "train")  # neighbours have each other's picture
        picture = self.pools.picture(split, item.kind, item.look, seen)  # type: ignore[arg-type]
        if item.form in ("tool", "repair"):
            lesson = self.lesson(item)
            think = found.answer.split("<answer>")[0]
            attempt = f"{think}<tool_call>\n{lesson['attempt']}</tool_call>"
            # a mistake is shown, not taught
            taught = lesson["attempt"] == found.program
            tried = ({"text": attempt, "taught": taught, "feedback": lesson["feedback"]},)
        name = f"{split}/{item.kind}/{item.look}/{item.index}"
        return Sample(name, picture, answer or found.answer, tried, last)

    def lesson(self, item: Item) -> dict[str, str]:
        """What was tried first and the feedback on it; drawn by `training.base.lessons`."""
        if not self.lessons:
            path = self.pools.wait_for(lessons.FILE)
            self.lessons = {(x["kind"], x["look"], x["index"], x["form"]): x for x in map(json.loads, path.open())}
        return self.lessons[item.kind, item.look, item.index, item.form]

    def dialogue(self, number: int) -> dict[str, Any]:
        """One of the dialogues of `training.base.repairs`."""
        if not self.repairs:
            self.repairs = [json.loads(line) for line in self.pools.wait_for(repairs.FILE).open()]
        return self.repairs[number % len(self.repairs)]

    def _read(self, teacher: Teacher, kind: str, look: Look, count: int = 48) -> dict[str, float]:
        """Teacher-forced: nats a value and shares of values, colours and titles that come first."""
        ends = teacher.codec.encode("</think>")[0]
        hits = defaultdict(list)
        for start in range(0, count, 16):
            items = [Item(kind, look, i, "direct") for i in range(start, start + 16)]
            found = teacher.scores([self.sample(item, "heldout") for item in items])
            for item, (target, score) in zip(items, found, strict=True):
                end = int((target == ends).nonzero()[0])
                size = len(self.pools.chart("heldout", kind, look, item.index).values)
                values = score[end - size : end]
                hits["nats"].append(-values.mean().item())
                hits["values"].append((values > math.log(0.5)).float().mean().item())
                hits["colour"].append(float(score[end - size - 2] > math.log(0.5)))
                hits["title"].append(float(score[end - size - 4] > math.log(0.5)))
        return {k: round(sum(v) / len(v), 3) for k, v in hits.items()}
