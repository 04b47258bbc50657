"""What keeps the embedded policy from learning the values of a chart: the same training on easier and easier charts.

Each arm trains the shipped architecture from nothing to write programs for pictures (no feedback, no reinforcement).
An arm changes one thing about the charts or the steps. Measured on charts never trained on, given the
right program so far: nats the model still lacks for a value (1 to 9; ln 9 = 2.197 knows nothing), how often the
likeliest digit is the right one, and how well the order of a chart's values is known (correlation of the expected
digit's rank with the value). RRVF_VALUES_STEPS: other optimiser steps of a whole arm.
"""

import asyncio
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from actors.dialogue import Codec, banned_ids
from configs.load import load
from training.data import synthetic_charts, tiny_policy
from training.data.synthetic_charts import Drawn, draw
from training.jobs import coldstart
from training.jobs.coldstart import OFFSET, Lesson, row_of, trace
from training.learner.image_inputs import Pixels
from training.learner.model import Policy, load_model
from training.learner.packing import build

STEPS, CHARTS, ASKED = int(os.environ.get("RRVF_VALUES_STEPS", "700")), 3000, 200
BARS = ("bar",)
ARMS: dict[str, tuple[tuple[str, ...], str, float]] = {  # kinds, line added, share of the steps
    "as shipped": (synthetic_charts.KINDS, "", 1.0),
    "bars alone": (BARS, "", 1.0),
    "bars alone, a fifth of the steps": (BARS, "", 0.2),  # what bars get of the steps among five kinds
    "bars alone, axis from 0 to 10": (BARS, "plt.ylim(0,10)\n", 1.0),
}


def charts(arm: str, split: synthetic_charts.Split, count: int) -> list[Drawn]:
    kinds, line, _ = ARMS[arm]
    found: list[Drawn] = []
    number = OFFSET
    while len(found) < count:
        chart = draw(number, 7, split)
        number += 1
        if chart.kind in kinds:
            found.append(replace(chart, program=chart.program.replace("plt.title(", f"{line}plt.title(")))
    return found


def pictures(of: Sequence[Drawn]) -> list[bytes]:
    results = asyncio.run(synthetic_charts.render_results([chart.program for chart in of], workers=1))
    assert all(r.png for r in results)
    return [r.png or b"" for r in results]


def digits(codec: Codec, ids: Sequence[int]) -> list[int]:
    """Indices of the tokens which are values: the digits of the last list of numbers."""
    texts = [codec.tokenizer.decode([i]) for i in ids]
    begins = {sum(map(len, texts[:n])): n for n in range(len(texts))}
    values = list(re.finditer(r"\[(\d(,\d)*)\]", "".join(texts)))[-1]
    return [begins[place] for place in range(*values.span(1), 2)]


def known(folder: Path, codec: Codec, of: Sequence[Drawn], seen: Sequence[bytes]) -> dict[str, float]:
    """What the model in `folder` knows of the values."""
    model = load_model(folder).eval()
    policy = Policy(model, banned=banned_ids(codec.tokenizer), temperature=1.0, chunk=1 << 20, freeze_vision=False)
    pixels = Pixels(codec.processor.image_processor)
    numbers = torch.tensor([codec.tokenizer.convert_tokens_to_ids(str(n)) for n in range(1, 10)])
    logits: list[torch.Tensor] = []
    model.lm_head.register_forward_hook(lambda module, given, out: logits.append(out.float()))
    nats, right, ranks = [], [], []
    for chart, png in zip(of, seen, strict=True):
        row = row_of(
            trace(codec, Lesson(chart, chart.program, False), png, "", True), pixels, model.config.image_token_id
        )
        batch = build([(row,)], model.config.image_token_id, pixels)
        logits.clear()
        with torch.no_grad():
            policy(batch, *pixels.patches(batch.images, {hashlib.sha256(png).hexdigest(): png}))
        places = digits(codec, batch.target.tolist())
        chances = torch.log_softmax(torch.cat(logits)[places][:, numbers], -1)
        gold = torch.tensor(chart.values) - 1
        assert len(places) == len(gold)
        nats += (-chances.gather(1, gold[:, None])[:, 0]).tolist()
        right += (chances.argmax(-1) == gold).tolist()
        if len(set(chart.values)) > 1:
            expected = (chances.exp() * torch.arange(1, 10)).sum(-1).numpy()
            ranks.append(float(np.corrcoef(np.argsort(np.argsort(expected)), chart.values)[0, 1]))
    return {
        "nats": round(float(np.mean(nats)), 3),
        "right": round(float(np.mean(right)), 3),
        "correlation": round(float(np.mean(ranks)), 3),
    }


def main(out_dir: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    torch.set_num_threads(1)
    for arm in ARMS:
        steps = round(ARMS[arm][2] * STEPS)
        config = load(
            "configs/tiny_chart.yaml", ["coldstart.threads=1", "coldstart.direct=1", f"coldstart.steps={steps}"]
        )
        lessons = [Lesson(chart, chart.program, False) for chart in charts(arm, "train", CHARTS)]
        with tempfile.TemporaryDirectory() as root:
            folder = Path(root) / "policy"
            tiny_policy.build(folder, 0, [x.chart.program for x in lessons[:400]] + list(vars(config.prompts).values()))
            codec = Codec.load(str(folder), config.prompts)
            held = charts(arm, "heldout", ASKED)
            seen, tested = pictures([x.chart for x in lessons]), pictures(held)
            torch.manual_seed(0)
            started = time.process_time()
            coldstart.train(folder, codec, lessons, seen, [""] * len(lessons), config)
            found[arm] = {"steps": steps, "cpu_s": round(time.process_time() - started)} | known(
                folder, codec, held, tested
            )
        print(json.dumps({arm: found[arm]}), flush=True)
    return {"knows_nothing": {"nats": 2.197, "right": 0.111}, "arms": found}
