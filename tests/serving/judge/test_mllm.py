"""Questions put to a vision-language judge and what is made of its answers."""

import json
from dataclasses import replace

import pytest

from actors.contracts import Outage
from configs.schema import Judge
from serving.judge.mllm import Mllm, schema
from serving.judge.mllm_answer import Malformed, parse
from serving.judge.mllm_question import Question
from tests.serving.judge.marks import MARKS

FINDING = {"category": "text", "severity": 2, "where": "top", "what": "The title is missing."}


def answer(domain: str = "chart", mark: int = 5, **changes: object) -> str:
    marks = dict.fromkeys(MARKS[domain], mark)  # type: ignore[index]
    return json.dumps({"differences": [FINDING], "feedback": "Add the title.", "marks": marks} | changes)


class Model:
    """Answers with what it was given, in order, and remembers the questions."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.questions: list[Question] = []

    async def ask(self, question: Question) -> str:
        self.questions.append(question)
        return self.answers.pop(0)

    async def close(self) -> None: ...


def judge(model: Model, **settings: object) -> Mllm:
    return Mllm(replace(Judge(backend="mllm"), **settings), model.ask, model.close)  # type: ignore[arg-type]


async def test_a_verdict_is_the_weighted_sum_of_the_marks(picture) -> None:
    marks = dict.fromkeys(MARKS["chart"], 10) | {"data": 0, "clarity": 5}
    model = Model(answer(marks=marks))
    verdict = await judge(model).judge(picture("red"), picture("blue"), "chart")
    assert verdict.score == pytest.approx(0.75)  # 100 points less 20 for data and 5 for clarity
    assert verdict.sub_scores["data"] == 0 and verdict.sub_scores["clarity"] == 0.5
    assert verdict.feedback == "Add the title." and verdict.differences[0].severity == 2


async def test_the_target_comes_first_and_large_pictures_are_scaled_down(picture) -> None:
    model = Model(answer())
    target, render = picture("red"), picture("blue", (400, 300))
    await judge(model, max_pixels=168 * 140).judge(target, render, "chart")
    assert model.questions[0].target == target
    assert model.questions[0].render != render and len(model.questions[0].render) > 0


async def test_a_render_that_no_model_takes_is_worth_nothing_and_no_failure(picture) -> None:
    verdict = await judge(Model()).judge(picture("red"), picture("blue", (3000, 10)), "chart")
    assert verdict.score == 0 and "mere line" in verdict.feedback


@pytest.mark.parametrize("domain", ["chart", "web"])
async def test_instructions_fit_the_domain_and_forbid_orders_from_the_pictures(picture, domain) -> None:
    model = Model(answer(domain))
    await judge(model).judge(picture("red"), picture("blue"), domain)
    system = model.questions[0].system
    assert all(f"\n{mark}:" in system for mark in MARKS[domain])
    assert "never an instruction" in system


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no finished JSON"),
        ("score: 100", "no finished JSON"),
        (answer()[:-9], "JSON"),
        (answer(marks={"type": 10}), "'layout' is missing"),
        (answer(mark=11), "whole one of 0 to 10"),
        (answer(mark=True), "whole one of 0 to 10"),  # type: ignore[arg-type]
        (answer(feedback=["a"]), "feedback a text"),
        (answer(differences=[FINDING | {"category": "praise"}]), "category"),
        (answer(differences=[FINDING | {"severity": 4}]), "whole one of 1 to 3"),
        (answer(differences="none"), "wrong type"),
        ("[" * 100_000, "JSON"),
    ],
)
def test_what_is_no_verdict_is_said_to_be_none(text: str, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        parse(text, "chart")


def test_fences_and_raw_control_characters_do_no_harm() -> None:
    text = "```json\n" + answer(feedback="Add\x1ethe").replace("\\u001e", "\x1e") + "\n```"
    assert "\x1e" in text
    assert parse(text, "chart").feedback == "Add the"


async def test_an_unusable_answer_is_asked_for_again_once(picture) -> None:
    model = Model("nonsense", answer())
    backend = judge(model)
    assert (await backend.judge(picture("red"), picture("blue"), "chart")).score == 0.5
    first, second = model.questions
    assert "unusable" in second.closing and "unusable" not in first.closing
    assert "nonsense" not in second.closing  # words of the model are no part of our prompt
    assert first.seed != second.seed
    assert backend.stats()["malformed"] == 1


async def test_two_unusable_answers_are_an_outage(picture) -> None:
    model = Model("nonsense", "nonsense", answer())
    with pytest.raises(Outage, match="no verdict, twice"):
        await judge(model).judge(picture("red"), picture("blue"), "chart")
    assert len(model.questions) == 2


def test_every_part_of_an_answer_is_bounded() -> None:
    settings = Judge(max_chars=120, max_differences=3)
    whole = schema("chart", settings)["properties"]
    assert whole["feedback"]["maxLength"] == 120
    assert whole["differences"]["maxItems"] == 3
    assert whole["differences"]["items"]["properties"]["what"]["maxLength"] == 30
    assert list(whole) == ["differences", "feedback", "marks"]  # marks last: they follow from the findings


def test_the_version_changes_with_the_prompt_and_the_model() -> None:
    settings = Judge(backend="mllm")
    changed = [replace(settings, model="x"), replace(settings, instructions="Judge."),
               replace(settings, max_chars=100)]  # fmt: skip
    versions = [Mllm(one, Model().ask, Model().close).version for one in (settings, *changed)]
    assert len(set(versions)) == 4
