"""Judges beside the two built-in ones: a function of the user's, attributes alone, embeddings, and blends."""

from collections.abc import Callable
from pathlib import Path

import pytest

from actors.contracts import Difference, Outage, Verdict
from configs.load import ConfigError, load
from configs.schema import Judge
from serving.judge.own import verdict_of
from serving.judge.perceptual import compare
from serving.judge.service import VisualJudge

OWN = str(Path(__file__).parents[2] / "actors/own.py")
Draw = Callable[..., bytes]


async def judged(settings: Judge, target: bytes, *renders: bytes) -> tuple[list[Verdict | Outage], dict[str, float]]:
    judge = VisualJudge(settings)
    found: list[Verdict | Outage] = []
    try:
        for render in renders:
            try:
                found.append(await judge.compare(target, render))
            except Outage as outage:
                found.append(outage)
        return found, judge.stats()
    finally:
        await judge.close()


async def test_a_function_judges_what_the_guards_leave_once_each(picture: Draw) -> None:
    target, render = picture("red"), picture("blue")
    found, stats = await judged(Judge(backend=f"{OWN}:judge"), target, target, render, render, b"no picture")
    same, first, again, unreadable = found
    assert isinstance(same, Verdict) and same.score == 1 and isinstance(first, Verdict)
    assert first.score == min(len(target), len(render)) / max(len(target), len(render))
    assert first.feedback == "call 1 of chart" and again is first and stats["hits"] == 1 and stats["raised"] == 0
    assert isinstance(unreadable, Verdict) and unreadable.score == 0
    assert first.backend.startswith("own.py:judge-") and first.seconds > 0


@pytest.mark.parametrize(
    ("name", "expected", "count"),
    [
        ("raises", "raised KeyError: 'no such colour'", "raised"),
        ("nan", "gave nan: a score is a number from 0 to 1", "no_verdict"),
        ("large", "gave 1e+09: a score is a number from 0 to 1", "no_verdict"),
        ("wordy", "gave str: it must give a number", "no_verdict"), ("dies", "ended its process", "died"),
        ("hangs", "gave nothing within 0.9 s", "hung"),
    ],
)  # fmt: skip
async def test_what_is_no_verdict_is_an_outage_and_never_a_score(
    picture: Draw, name: str, expected: str, count: str
) -> None:
    settings = Judge(backend=f"{OWN}:{name}", deadline_s=1.0 if name == "hangs" else 60.0)
    (found,), stats = await judged(settings, picture("red"), picture("blue"))
    assert isinstance(found, Outage) and found.part == "judge" and f"own.py:{name} {expected}" in str(found)
    assert stats[count] == 1 and stats["outages"] == 1


def test_a_verdict_of_ones_own_may_have_findings_and_numbers_of_any_library() -> None:
    import numpy as np

    whole = Verdict(0.5, "Add a title.", "mine", (Difference("text", 2, "top", "no title"),), {"text": 0.0})
    assert verdict_of(whole, "v1") == Verdict(0.5, "Add a title.", "v1", whole.differences, {"text": 0.0})
    assert verdict_of(np.float32(0.25), "v1").score == 0.25 and verdict_of((1, "Good."), "v1").feedback == "Good."
    for bad in (True, None, "1", (0.5, 3), -0.1, 1.1, float("inf"), [0.5]):
        with pytest.raises(ValueError, match=r"must give|from 0 to 1"):
            verdict_of(bad, "v1")


async def test_attributes_are_text_colours_and_outlines_of_the_perceptual_judge(picture: Draw) -> None:
    target, render = picture("red"), picture("blue")
    (found,), _ = await judged(Judge(backend="attributes"), target, render)
    whole = compare(target, render)
    parts = {k: v for k, v in whole.sub_scores.items() if k in ("text", "palette", "edges")}
    assert isinstance(found, Verdict) and found.sub_scores == parts and found.differences == whole.differences
    assert found.score == pytest.approx(sum(parts.values()) / len(parts)) and found.backend == "attributes"


async def test_a_blend_is_the_weighted_mean_and_an_outage_of_a_part_is_its_own(picture: Draw) -> None:
    target, render = picture("red"), picture("blue")
    blend = f"perceptual=3,{OWN}:judge=1"
    (found,), _ = await judged(Judge(backend="blend", blend=blend), target, render)
    length = min(len(target), len(render)) / max(len(target), len(render))
    assert isinstance(found, Verdict)
    assert found.score == pytest.approx((3 * compare(target, render).score + length) / 4)
    assert found.differences and found.backend == "blend" and len(found.sub_scores) == 2
    (broken,), _ = await judged(Judge(backend="blend", blend=f"perceptual=1,{OWN}:raises=1"), target, render)
    assert isinstance(broken, Outage)


@pytest.fixture(scope="module")
def embedders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny random models in the layouts of DINOv2, CLIP and SigLIP."""
    import torch
    import transformers as t

    torch.manual_seed(0)
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    picture = {**small, "image_size": 56, "patch_size": 14}
    words = {**small, "vocab_size": 99, "max_position_embeddings": 16}
    made = {
        "dino": t.Dinov2Model(t.Dinov2Config(**{k: v for k, v in picture.items() if k != "intermediate_size"})),
        "clip": t.CLIPModel(t.CLIPConfig(text_config=words, vision_config=picture, projection_dim=24)),
        "siglip": t.SiglipModel(t.SiglipConfig(text_config=words, vision_config=picture)),
    }
    root = tmp_path_factory.mktemp("embedders")
    size = {"height": 56, "width": 56}
    handlers = {
        "dino": t.BitImageProcessor(size={"shortest_edge": 56}, crop_size=size), "clip": t.CLIPImageProcessor(
            size={"shortest_edge": 56}, crop_size=size
        ), "siglip": t.SiglipImageProcessor(size=size),
    }  # fmt: skip
    for name, model in made.items():
        model.save_pretrained(root / name)
        handlers[name].save_pretrained(root / name)
    return {name: root / name for name in made}


@pytest.mark.parametrize("name", ["dino", "clip", "siglip"])
async def test_embeddings_of_a_local_folder_judge(embedders: dict[str, Path], name: str, picture: Draw) -> None:
    settings = Judge(backend="embedding", embedder=str(embedders[name]))
    found, _ = await judged(settings, picture("red"), picture("blue"), picture("green"))
    assert all(isinstance(v, Verdict) and 0 <= v.score < 1 and -1 <= v.sub_scores["cosine"] < 1 for v in found)
    again, _ = await judged(settings, picture("red"), picture("blue"))
    assert isinstance(again[0], Verdict) and again[0].score == found[0].score  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["judge.backend=psychic"], "judge.backend=psychic: must be one of perceptual, mllm, attributes, embedding"),
        (["judge.backend=no/such.py:judge"], "no/such.py:judge: no such file"),
        ([f"judge.backend={OWN}:nobody"], ":nobody: the file has no function nobody"),
        ([f"reward.function={OWN}:nobody"], ":nobody: the file has no function nobody"),
        (["reward.function=reward"], "reward.function=reward: must be a file and a function in it"),
        (["judge.backend=blend"], "judge.blend=: ``: must be BACKEND=WEIGHT"),
        (["judge.backend=blend", "judge.blend=perceptual=0"], "`perceptual=0`: must be BACKEND=WEIGHT"),
        (["judge.backend=blend", "judge.blend=sound=1"], "no backend sound; there are perceptual"),
        (["judge.backend=blend", f"judge.blend=perceptual=1,{OWN}:nobody=1"], "the file has no function nobody"),
        (["judge.blend=perceptual=1"], "is for judge.backend=blend"),
        (["judge.backend=embedding"], "judge.embedder=DIR"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_used_are_one_line(settings: list[str], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, settings)
    (problem,) = caught.value.problems
    assert expected in problem


def test_paths_are_the_same_from_every_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(OWN).parent)
    config = load(
        None, ["judge.backend=blend", "judge.blend=attributes=1, own.py:judge=2", "reward.function=own.py:reward"]
    )
    assert config.judge.blend == f"attributes=1,{OWN}:judge=2" and config.reward.function == f"{OWN}:reward"
