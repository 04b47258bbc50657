"""Repairs of injected faults and turns against independent answers, with policies whose every answer is known.

Pictures carry what they show as text of their file, so that a scripted judge can say what is wrong and a scripted
policy can see or read.
"""

import asyncio
import io
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from actors.contracts import RenderResult, Sample, Verdict
from actors.dialogue import Codec
from actors.rollout.episode import Environment, Rules
from configs.schema import Feedback, Prompts, RewardWeights, Rollout, Sampling
from training.data.image_sets import ImageSet
from training.data.synthetic_charts import Chart, attributes, draw, shown_by
from training.evaluation.turns.renders import against_best, episodes
from training.evaluation.turns.repair import FAULTS, assess, broken, repairs

BARS = Chart("bar", "Sales", "red", (3, 5, 9))


def png(facts: dict[str, Any]) -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("facts", json.dumps(facts))
    out = io.BytesIO()
    Image.new("RGB", (168, 140), "white").save(out, "PNG", pnginfo=text)
    return out.getvalue()


def facts_in(picture: bytes) -> dict[str, Any] | None:
    found = Image.open(io.BytesIO(picture)).info.get("facts")
    return None if found is None else json.loads(found)


class Renderer:
    async def render(self, source: str, domain: str) -> RenderResult:
        read = attributes(source)
        lists = re.findall(r"\[([\d,]*)\]", source)
        if read is None or len({x.count(",") for x in lists}) > 1:
            return RenderResult(False, 0.01, kind="exception", message="ValueError: shape mismatch")
        return RenderResult(True, 0.01, png(read.facts), (168, 140))


class Judge:
    async def compare(self, target: bytes, render: bytes, domain: str) -> Verdict:
        want, have = facts_in(target), facts_in(render)
        assert want is not None and have is not None, "the judge must see the true target"
        wrong = [
            f"{name} := {json.dumps(want[name])}"
            for name in ("kind", "title", "colour", "values")
            if want[name] != have[name]
        ]
        return Verdict(1 - len(wrong) / 4, "; ".join(wrong), "test")


class Policy:
    """`write(prompt, target's facts or None)` makes the program."""

    def __init__(self, codec: Codec, write: Callable[[str, dict[str, Any] | None], str]) -> None:
        self.codec, self.write = codec, write

    async def sample(
        self, prompt_ids: Sequence[int], images: Sequence[bytes], *, max_tokens: int, session: str
    ) -> Sample:
        text = self.write(self.codec.tokenizer.decode(list(prompt_ids)), facts_in(images[0]))
        ids = tuple(self.codec.encode(text))
        expanded = len(prompt_ids) - len(images) + sum(self.codec.image_tokens(i) for i in images)
        return Sample(ids, (-1.0,) * len(ids), (0,) * len(ids), expanded, "stop")


def answer(program: str) -> str:
    return f"<think>t</think><answer>\n{program}</answer>"


def obedient(prompt: str, target: dict[str, Any] | None) -> str:
    """Does what the feedback says to its first program and never looks."""
    [program] = re.findall(r"<tool_call>\n(.*?)</tool_call>", prompt, re.S)
    feedback = re.findall(r"<tool_response>(.*?)</tool_response>", prompt, re.S)[-1]
    chart = attributes(program)
    if chart is None or feedback.strip() == "last":  # what stands before the last turn
        return answer(program)
    orders = {name: json.loads(value) for name, value in re.findall(r'(\w+) := ("[^"]*"|\[[^\]]*\])', feedback)}
    return answer(shown_by(chart.facts | orders).program)


def sees(prompt: str, target: dict[str, Any] | None) -> str:
    """Draws what it sees and never listens."""
    return answer(shown_by(target).program if target else BARS.program)


@pytest.fixture(scope="module")
def codec(tiny_model: Path, prompts: Prompts) -> Codec:
    return Codec.load(str(tiny_model), prompts)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    folder = tmp_path_factory.mktemp("held")
    facts = tuple(draw(i, 0, "train").facts for i in range(20))
    for n, one in enumerate(facts):
        (folder / f"{n:02d}.png").write_bytes(png(one))
    return ImageSet("held", tuple(str(folder / f"{n:02d}.png") for n in range(20)), facts)


RULES = Rules("chart", Rollout(max_turns=3, retries=0), Sampling(max_tokens=512, max_trajectory_tokens=4096),
              Feedback(), RewardWeights())  # fmt: skip


def environment(codec: Codec, write: Callable[[str, dict[str, Any] | None], str]) -> Environment:
    return Environment(Policy(codec, write), Renderer(), Judge(), codec)  # type: ignore[arg-type]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_fault_and_its_repair_is_separated_from_the_rest(fault: str) -> None:
    for seed in range(20):
        first = broken(BARS, fault, random.Random(seed))
        assert first.program != BARS.program
        same = [getattr(first.chart, name) == getattr(BARS, name) for name in ("kind", "title", "colour", "values")]
        assert sum(same) == (4 if fault == "length" else 3)
        done = assess(BARS, first, BARS.program, True, 1.0)
        assert (done.mended, done.kept, done.copied) == (True, True, False)
        again = assess(BARS, first, first.program, fault != "length", 0.5)
        assert (again.mended, again.copied) == (False, True) and again.kept == (fault != "length")
        other = replace(BARS, title="Rain") if fault != "title" else replace(BARS, colour="teal")
        half = assess(BARS, first, other.program, True, 0.5)
        assert (half.mended, half.kept) == (True, False)
        assert not assess(BARS, first, None, False, 0.0).mended


def test_a_policy_that_listens_mends_by_right_feedback_alone(codec: Codec, images: ImageSet) -> None:
    found = asyncio.run(repairs(images, environment(codec, obedient), RULES, 0, 10**6))
    assert found["n"] == 20 and set(found["mended_by_fault"]) == set(FAULTS)
    assert found["right"]["mended_and_kept"] == found["grey"]["mended_and_kept"] == 1.0
    assert found["empty"]["mended"] == 0.0 and found["empty"]["copied"] == 1.0
    assert found["shuffled"]["mended"] < 0.5
    assert found["right - empty: mended"] == [1.0, 1.0, 1.0]


def test_a_policy_that_only_looks_shows_no_use_of_feedback(codec: Codec, images: ImageSet) -> None:
    found = asyncio.run(repairs(images, environment(codec, sees), RULES, 0, 10**6))
    assert found["right"]["mended_and_kept"] == found["empty"]["mended_and_kept"] == 1.0
    assert found["right - shuffled: mended"] == [0.0, 0.0, 0.0] and found["grey"]["mended_and_kept"] < 0.5


def test_without_facts_there_is_no_repair_to_assess(codec: Codec, images: ImageSet) -> None:
    assert asyncio.run(repairs(replace(images, facts=()), environment(codec, sees), RULES, 0, 10**6)) == {"n": 0}


def test_turns_are_compared_at_equal_renders(codec: Codec, images: ImageSet) -> None:
    def write(prompt: str, target: dict[str, Any] | None) -> str:
        """Alone it draws wrong bars; with the tool it draws them once and then what is right."""
        if "<tool_response>" in prompt:
            return sees(prompt, target)
        return answer(BARS.program) if "direct" in prompt else f"<think>t</think><tool_call>{BARS.program}</tool_call>"

    played = asyncio.run(episodes(images.head(6), environment(codec, write), RULES, 10**6))
    assert [len(alone) for _, alone in played] == [2] * 6
    found = against_best(played)
    assert found["renders"] == 2 and found["last_program"] == 1.0 and found["best_of_independent"] < 1
    assert found["last_program - best_of_independent"][1] > 0
    lone = asyncio.run(episodes(images.head(3), environment(codec, sees), RULES, 10**6))
    assert [len(alone) for _, alone in lone] == [1] * 3
    assert against_best(lone)["best_program - best_of_independent"] == [0.0, 0.0, 0.0]
