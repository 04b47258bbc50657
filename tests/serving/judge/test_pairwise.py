"""Which of two renders is closer: by similarity, by a vision-language model, and where nobody has to be asked."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from aiohttp import web

from actors.contracts import Outage
from configs.schema import Judge
from serving.judge.mllm_answer import Malformed
from serving.judge.mllm_pair import parse_preference
from serving.judge.service import VisualJudge
from tests.serving.judge.test_mllm_behaviours import endpoint, says
from tests.serving.judge.test_perceptual import bars

NEAR, FAR = bars(lift=20), bars("blue", lift=80)
Reply = Callable[[str, str], str]  # the pictures as A and B -> what the model says


async def preferred(reply: Reply, *pairs: tuple[bytes, bytes], **settings: object) -> tuple[list[float], int]:
    """Answers of a model behind an endpoint to pairs of renders of one target, and how often it was asked."""

    def answer(request: dict, _: int) -> web.Response:
        a, b = [p["image_url"]["url"][-64:] for p in request["messages"][1]["content"] if p["type"] == "image_url"][1:]
        return says(reply(a, b))

    async with endpoint(answer) as (requests, url):
        judge = VisualJudge(replace(Judge(backend="mllm", url=url, retries=0), **settings))  # type: ignore[arg-type]
        try:
            found = [await judge.prefer(bars(), *pair) for pair in pairs]
        finally:
            await judge.close()
        return found, len(requests)


def always(choice: str) -> Reply:
    return lambda a, b: json.dumps({"wrong_in_a": "", "wrong_in_b": "", "closer": choice})


async def test_by_similarity_the_more_similar_render_is_preferred() -> None:
    judge = VisualJudge(Judge())
    assert await judge.prefer(bars(), NEAR, FAR) == 1 and await judge.prefer(bars(), FAR, NEAR) == 0
    assert await judge.prefer(bars(), FAR, FAR) == 0.5
    assert judge.stats()["asked"] == judge.stats()["hits"] + judge.stats()["joined"] + 2  # each was judged once
    await judge.close()


async def test_a_model_is_asked_once_a_pair_and_both_ways_agree() -> None:
    def better(a: str, b: str) -> str:
        return always("A" if a < b else "B")(a, b)

    found, asked = await preferred(better, (NEAR, FAR), (FAR, NEAR), (NEAR, FAR))
    assert found[0] == 1 - found[1] == found[2] and found[0] in (0, 1) and asked == 1


async def test_both_orders_undo_a_bias_of_position() -> None:
    assert await preferred(always("A"), (NEAR, FAR), both_orders=True) == ([0.5], 2)
    for choice in "AB":
        found, _ = await preferred(always(choice), (NEAR, FAR), (FAR, NEAR))
        assert sum(found) == 1


async def test_answers_are_averaged() -> None:
    found, asked = await preferred(always("neither"), (NEAR, FAR), samples=3)
    assert found == [0.5] and asked == 3


async def test_what_needs_no_judge_is_not_asked_about(picture: Callable[..., bytes]) -> None:
    blank = picture("white", (640, 480))
    pairs = (NEAR, blank), (blank, NEAR), (NEAR, b"junk"), (bars(), NEAR), (blank, b"junk")
    assert await preferred(always("B"), *pairs) == ([1, 0, 1, 1, 0.5], 0)


async def test_an_answer_that_names_none_is_asked_for_again_and_then_an_outage() -> None:
    with pytest.raises(Outage, match="twice: closer is neither"):
        await preferred(always("C"), (NEAR, FAR))


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ('{"closer": "A"}', 1),
        ('```json\n{"closer": "render b"}\n```', 0),
        ('<think>{"closer": "B"}</think>Well: {"wrong_in_a": "x {", "closer": "a"}', 1),
        ("RENDER A lacks the title. Closer: **B**", 0),
        ("The closer is render A.", 1),
        ('{"closer": "tie"}', 0.5),
    ],
)
def test_answers_are_read_as_models_write_them(text: str, share: float) -> None:
    assert parse_preference(text) == share


@pytest.mark.parametrize("text", ["", "A", '{"closer": "the target"}', '{"better": "A"}', "[" * 100_000])
def test_what_names_none_is_said_to(text: str) -> None:
    with pytest.raises(Malformed):
        parse_preference(text)
