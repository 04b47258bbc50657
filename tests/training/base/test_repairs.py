"""Dialogues in which feedback decides: what each form says and teaches, with the judge's real feedback."""

import json
from pathlib import Path

import pytest

from actors.dialogue import Codec, Dialogue, parse_turn
from configs.load import load
from training.base import SHIPPED, lessons, repairs
from training.base.teach import _png
from training.data.synthetic_charts import attributes, chart

PROMPTS = load("configs/tiny_chart.yaml").prompts


def plans() -> list[dict[str, object]]:
    return [plan for n in range(40) for plan in repairs.plans("bar", "plain", n, 0)]


def test_what_follows_is_decided_by_the_feedback() -> None:
    forms = set()
    for plan in plans():
        forms.add(plan["form"])
        true = chart("bar", "plain", plan["index"], 0, "train")  # type: ignore[arg-type]
        turns: list[dict[str, object]] = plan["turns"]  # type: ignore[assignment]
        kind, answer = parse_turn(str(plan["answer"]))
        first = str(turns[0]["program"])
        assert kind == "answer" and answer is not None and not turns[0]["taught"]
        if plan["form"] == "keep":
            assert answer.strip() == first.strip() != true.program.strip()
        elif plan["form"] == "mend" or len(turns) == 2:
            assert attributes(answer) == true and turns[0]["program"] != true.program
        else:  # what the feedback does not name stays as it was, against the picture
            assert attributes(answer) != true and answer.strip() == str(turns[0]["wanted"]).strip()
    assert forms == {"mend", "follow", "keep"}


def test_feedback_is_of_the_fault_alone() -> None:
    """In the programs that have another colour than the picture, the colour is named in the second feedback alone."""
    checked = 0
    for plan in plans():
        true = chart("bar", "plain", plan["index"], 0, "train")  # type: ignore[arg-type]
        turns: list[dict[str, object]] = plan["turns"]  # type: ignore[assignment]
        wanted = attributes(str(turns[-1]["program"]))
        if len(turns) == 1 or wanted is None or wanted.colour == true.colour:
            continue
        first, second = (str(turn["feedback"]) for turn in repairs.spoken(plan, 0)["turns"])
        assert f"not {wanted.colour.removeprefix('tab:')}" not in first and "should be" in second
        checked += 1
    assert checked
    silent = repairs.spoken(next(p for p in plans() if p["form"] == "keep"), 0)
    assert silent["turns"][0]["feedback"] == ""


def test_a_fault_is_shown_and_what_follows_is_taught() -> None:
    codec = Codec.load(str(SHIPPED), PROMPTS)
    spoken = repairs.spoken(next(p for p in plans() if len(p["turns"]) == 2), 0)  # type: ignore[arg-type]
    assert all(one["feedback"] for one in spoken["turns"])
    laid = repairs.lay(Dialogue.start(codec, _png(140, 196)), spoken)
    taught = codec.decode([i for i, mine in zip(laid.full_ids, laid.sampled, strict=True) if mine])
    assert spoken["turns"][0]["text"] not in taught
    assert taught == spoken["turns"][1]["text"] + spoken["answer"]


def test_the_file_says_how_programs_failed_and_what_the_policy_misread(tmp_path: Path) -> None:
    repairs.make(tmp_path, SHIPPED, PROMPTS, 2, 1, workers=1)
    made = [json.loads(line) for line in (tmp_path / repairs.FILE).open()]
    assert {"mend", "follow", "keep"} <= {one["form"] for one in made}
    texts = [turn["feedback"] for one in made for turn in one["turns"] if one["form"] != "keep"]
    assert any("SyntaxError" in text or "shape" in text or "dimension" in text for text in texts)
    assert all(texts) and max(map(len, texts)) <= lessons.MAX_CHARS
    for one in made:
        if one["form"] == "own":
            true = chart(one["kind"], one["look"], one["index"], 1, "train")
            assert attributes(one["turns"][0]["program"]) != true == attributes(parse_turn(one["answer"])[1] or "")


@pytest.mark.parametrize("fault", [f for f in repairs.FAULTS if f not in lessons.BROKEN])
def test_a_fault_changes_one_thing(fault: str) -> None:
    import random

    for n in range(30):
        true = chart("plot", "plain", n, 0, "train")
        other = lessons.altered(true, fault, random.Random(n))
        same = [getattr(true, k) == getattr(other, k) for k in ("kind", "title", "colour", "values")]
        assert same.count(False) == 1
