"""A run's folder made up for the viewer: as many groups as wanted, written in the form that a run writes them."""

import io
import json
import random
from dataclasses import asdict
from pathlib import Path

from PIL import Image, ImageDraw

from actors.contracts import RenderResult, Verdict
from actors.replay.ledger import Entry
from actors.trajectory import Group, Reward, Trajectory, Turn
from configs.load import dump
from configs.schema import Config
from training.run.trajectory_log import Recorder, write_advantages

COLOURS = ("firebrick", "steelblue", "seagreen", "goldenrod", "rebeccapurple", "teal")
CODE = """import matplotlib.pyplot as plt
plt.figure(figsize=(2.1, 1.75), dpi=80)
plt.bar([1, 2, 3], [{}, 5, 3], color='{}')
plt.title('Sales')
"""
STEP_S, WAIT_S, START = 4.0, 2.5, 1_700_000_000.0


def drawing(colour: str, height: int) -> bytes:
    image = Image.new("RGB", (168, 140), "white")
    draw = ImageDraw.Draw(image)
    for place, bar in enumerate((height, 5, 3)):
        draw.rectangle((20 + 45 * place, 125 - 12 * bar, 50 + 45 * place, 125), fill=colour)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def member(rng: random.Random, target: str, began: float, version: int) -> Trajectory:
    turns, at = [], began
    for kind in ("tool_call", "answer")[rng.random() < 0.4 :]:
        colour, height = rng.choice((target, *COLOURS)), rng.randint(2, 8)
        runs = rng.random() < 0.7
        score = 0.9 if colour == target else 0.3
        render = (
            RenderResult(True, 0.1, drawing(colour, height), (168, 140))
            if runs
            else RenderResult(False, 0.1, kind=rng.choice(["syntax", "exception"]), message="line 3: no such colour")
        )
        verdict = Verdict(score, f"The bars should be {target}.", "made", sub_scores={"ink": score}) if runs else None
        spent = (rng.uniform(0.2, 0.6), rng.uniform(0.1, 0.8), 0.05 if runs else 0.0)
        text = f"<think>bars</think><{kind}>\n{CODE.format(height, colour)}</{kind}>"
        turns.append(Turn(text, kind, CODE.format(height, colour), render, verdict, 40, spent, at))  # type: ignore[arg-type]
        at += sum(spent)
    vision = turns[-1].verdict.score if turns[-1].verdict else 0.0
    reward = Reward(0.8 * vision + (0.2 if vision else -0.2), vision, 1.0 if vision else -1.0, 0.0)
    count = 40 * len(turns)
    return Trajectory(
        (1,) * count, (True,) * count, (-0.5,) * count, (version,) * count, (b"",), tuple(turns), "answer", reward
    )


def make(run: Path, steps: int, per_step: int = 4, size: int = 4, seed: int = 0, first: int = 0) -> Path:
    """`steps` steps of `per_step` groups of `size` members, after step `first`; every fifth group is stale."""
    run.mkdir(parents=True, exist_ok=True)
    config = Config()
    config.rollout.group_size, config.queue.groups_per_step = size, per_step
    (run / "config.yaml").write_text(dump(config))
    recorder = Recorder(run, "rollout-0", 1e6)
    for step in range(first, first + steps):
        rng = random.Random(f"{seed}/{step}")
        began, entries, advantages = START + STEP_S * step, [], {}
        for place in range(per_step):
            number = step * per_step + place
            target = COLOURS[number % len(COLOURS)]
            played = tuple(member(rng, target, began + 0.3 * place, step) for _ in range(size))
            stale = number % 5 == 4
            mean = sum(t.reward.total for t in played) / size
            entries.append(Entry(
                number, number % 50, "rollout-0/1", "stale" if stale else "consumed", step,
                reason="oldest token 3 versions old" if stale else "", oldest=step, newest=step,
                step=-1 if stale else step, tokens=sum(len(t.token_ids) for t in played), reward=mean,
                members=("done",) * size,
            ))  # fmt: skip
            if not stale:
                advantages[number] = [t.reward.total - mean for t in played]
            recorder(Group(number, number % 50, played), drawing(target, 6), ["done"] * size, "ready", began)
        write_advantages(run, step + 1, advantages)
        with (run / "queue.jsonl").open("a") as out:
            out.write(json.dumps({"version": step, "entries": [asdict(e) for e in entries]}) + "\n")
        with (run / "metrics.jsonl").open("a") as out:
            figures = {
                "step": step + 1, "reward": 0.2 + 0.01 * step, "exec_rate": 0.7, "similarity": 0.4, "entropy": 0.5,
                "staleness_mean": 1.0, "wait_s": WAIT_S, "prepare_s": 0.1, "update_s": 1.0, "sync_s": 0.3,
                "step_s": STEP_S, "ended_ms": int(1000 * (began + STEP_S)),
            }  # fmt: skip
            out.write(json.dumps(figures) + "\n")
    return run
