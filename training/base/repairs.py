"""Dialogues about faults for the base policy's last stage: what was tried, the feedback on it, and what follows.

Guarantees: feedback comes from the renderer and the judge that rollouts use; a dialogue depends on its picture, the
seed and, where the policy's own faults are shown, on the policy that made them; the file appears whole or not at all.

Four forms. `mend`: one fault, the judge's feedback on it, the right program. `follow`: the program differs from the
picture in one more thing that the feedback does not name, and the answer leaves it; so what is changed is decided by
the feedback, not by another look at the picture. `keep`: no feedback, the same program again. `own`: what the policy
itself misread in a varied picture. `follow` goes on to a second repair half of the time.
"""

import asyncio
import io
import json
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from PIL import Image

from actors.contracts import RenderResult
from actors.files import write_whole
from actors.rollout.episode import words
from configs.schema import Prompts, Render
from serving.judge.perceptual import compare
from serving.judge.perceptual.feedback.sentences import AGREED
from training.base.lessons import BROKEN, MAX_CHARS, altered, broken
from training.base.pictures import rgb
from training.base.read import Reader
from training.data.chart_looks import Look, drawing
from training.data.own_images import rendered
from training.data.synthetic_charts import KINDS, Chart, chart

FILE = "repairs.jsonl"
LOOKS: tuple[Look, ...] = ("plain", "mild")
FAULTS = ("colour", "title", "value", "value", "kind", "count", "length", "syntax")


def turn(read: Chart, program: str, tag: str) -> str:
    """A turn as the policy writes them: the line that reads the chart out, then the program."""
    return f"<think>{read.read_out}</think><{tag}>\n{program}</{tag}>"


def plans(kind: str, look: Look, index: int, seed: int) -> Iterator[dict[str, Any]]:
    """The dialogues about one picture, whose feedback is still to be made: each attempt with the program to which the
    judge compares it (None: the picture itself)."""
    true = chart(kind, look, index, seed, "train")
    rng = random.Random(f"{seed}/repairs/{kind}/{look}/{index}")
    for form in ("mend", "follow", "keep"):
        first = rng.choice(FAULTS)
        wanted = true
        if form == "follow":
            wanted = altered(true, rng.choice([f for f in FAULTS if f != first and f not in BROKEN]), rng)
        shown = wanted if first in BROKEN else altered(wanted, first, rng)
        program = broken(wanted, first, rng) if first in BROKEN else shown.program
        attempts: list[dict[str, Any]] = [{"text": turn(shown, program, "tool_call"), "program": program}]
        attempts[0] |= {"taught": False, "wanted": wanted.program if form == "follow" else None}
        answer = (shown, program) if form == "keep" else (wanted, wanted.program)
        if form == "follow" and rng.random() < 0.5:
            second = {"text": turn(wanted, wanted.program, "tool_call"), "program": wanted.program, "wanted": None}
            attempts.append(second | {"taught": True})
            answer = (true, true.program)
        yield {"kind": kind, "look": look, "index": index, "form": form, "turns": attempts} | {
            "answer": turn(*answer, "answer"),
            "silent": form == "keep",
            "last": rng.random() < 0.5,
        }


def spoken(plan: dict[str, Any], seed: int) -> dict[str, Any]:
    """The plan with feedback; None in place of what a program that fails gets as feedback."""
    found = chart(plan["kind"], plan["look"], plan["index"], seed, "train")
    for one in plan["turns"]:
        wanted = one.pop("wanted")
        if plan["silent"]:
            one["feedback"] = ""
            continue
        target = rgb(wanted if wanted is not None else drawing(found, plan["look"], plan["index"], seed))
        try:
            render = rgb(one["program"])
        except Exception:  # a fault that keeps it from running; the renderer says how
            one["feedback"] = None
            continue
        one["feedback"] = compare(target, render).feedback[:MAX_CHARS]
    return plan


def own_faults(policy: Path, prompts: Prompts, count: int, seed: int) -> list[dict[str, Any]]:
    """What the policy misreads in `count` varied pictures of each kind and look, sampled at temperature 1; answers that
    run and are right are left out."""
    wrong: list[dict[str, Any]] = []
    places = [(kind, look, n) for kind in KINDS for look in ("mild", "cosmetic") for n in range(count)]
    pictures = []
    for kind, look, index in places:
        out = io.BytesIO()
        picture = rgb(drawing(chart(kind, look, index, seed, "train"), look, index, seed))  # type: ignore[arg-type]
        Image.fromarray(picture).save(out, "PNG")
        pictures.append(out.getvalue())
    answers = Reader(policy, prompts).answers(pictures, temperature=1.0, seed=seed)
    for (kind, look, index), [answer] in zip(places, answers, strict=True):
        found = chart(kind, look, index, seed, "train")
        if answer.program is None or answer.read is None or answer.read == found:
            continue
        think = answer.text.split("</think>")[0]
        text = f"{think}</think><tool_call>\n{answer.program}</tool_call>"
        attempt = {"text": text, "program": answer.program, "taught": False, "wanted": None}
        wrong.append(
            {"kind": kind, "look": look, "index": index, "form": "own", "turns": [attempt], "silent": False}
            | {"answer": turn(found, found.program, "answer"), "last": index % 2 == 0}
        )
    return wrong


def make(folder: Path, policy: Path, prompts: Prompts, count: int, seed: int, workers: int) -> None:
    """repairs.jsonl: dialogues about the first `count` charts of every kind and look, in `workers` processes."""
    if (folder / FILE).exists():
        return
    wanted = [plan for kind in KINDS for look in LOOKS for i in range(count) for plan in plans(kind, look, i, seed)]
    wanted += own_faults(policy, prompts, count, seed)
    random.Random(seed).shuffle(wanted)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        made = list(pool.map(spoken, wanted, [seed] * len(wanted), chunksize=16))
    # where the judge misses the fault, there is nothing to follow
    made = [plan for plan in made if not any(one["feedback"] == AGREED for one in plan["turns"])]
    silent = [one for plan in made for one in plan["turns"] if one["feedback"] is None]
    programs = [one["program"] for one in silent]
    results: list[RenderResult] = asyncio.run(rendered(programs, "chart", Render(concurrency=1)))
    for one, result in zip(silent, results, strict=True):
        assert not result.ok, one
        one["feedback"] = words(result, None, MAX_CHARS)
    write_whole(folder / FILE, "".join(json.dumps(plan) + "\n" for plan in made))


def lay(dialogue: Any, found: dict[str, Any]) -> Any:
    """The dialogue on top of its opening; what is not taught stands there as text of others."""
    for number, one in enumerate(found["turns"]):
        before = len(dialogue.sampled)
        dialogue.add_text(one["text"])
        if not one["taught"]:
            dialogue.sampled[before:] = [False] * (len(dialogue.sampled) - before)
        dialogue.add_feedback(one["feedback"], last=found["last"] and number == len(found["turns"]) - 1)
    dialogue.add_text(found["answer"])
    return dialogue
