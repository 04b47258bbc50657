"""A start for a domain that draws its own examples: what its tokenizer is trained on, what the policy that is made from
the shipped one (`training.data.tiny_policy.build`) reads of held-out pictures, and its card.
"""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

from configs.schema import Config, Render, Sandbox
from serving.judge.perceptual import compare
from serving.render.sandbox import LAYERS
from serving.render.service import Renders
from training.base import SHIPPED
from training.base.card import Kind
from training.base.read import Reader
from training.base.wordlist import PROMPTS
from training.data.examples import INDEX


def texts(lessons: Path) -> list[str]:
    """What a policy reads and writes in the dialogues of a file that training.examples wrote."""
    rows = [json.loads(line) for line in lessons.read_text().splitlines()]
    answers = [f"<think></think><answer>\n{row['code']}</answer>" for row in rows if "code" in row]
    return answers + [turn.get("feedback", "") for row in rows for turn in row.get("turns", ())] + list(PROMPTS) * 60


def measure(model: Path, config: Config, folder: Path) -> dict[str, dict[str, float]]:
    """What a policy writes for the pictures of a folder of training.examples, answered at once: shares that are well
    formed and that are drawn, and the mean similarity (0 for what is not drawn), greedy and at temperature 1."""
    rows = [json.loads(line) for line in (folder / INDEX).read_text().splitlines()]
    pictures = [(folder / row["image"]).read_bytes() for row in rows]
    found = {}
    for name, temperature in (("greedy", 0.0), ("temperature 1", 1.0)):
        reader = Reader(model, config.prompts, max_tokens=config.sampling.max_tokens)
        answers = [mine[0].program for mine in reader.answers(pictures, temperature=temperature)]
        scores = asyncio.run(_scores(answers, pictures, config.data.domain))
        other = asyncio.run(_scores(answers, [*pictures[1:], pictures[0]], config.data.domain))
        found[name] = {
            "answered": _mean([answer is not None for answer in answers]),
            "drawn": _mean([score is not None for score in scores]),
            "similarity": _mean([score or 0.0 for score in scores]),
            "exchanged similarity": _mean([score or 0.0 for score in other]),
        }
    return found


def _mean(values: list[Any]) -> float:
    return round(sum(values) / len(values), 4)


async def _scores(answers: list[str | None], pictures: list[bytes], domain: str) -> list[float | None]:
    renders = Renders(Render(sandbox=Sandbox(allow_missing=list(LAYERS))))
    try:
        made = [None if answer is None else await renders.render(answer, domain) for answer in answers]
    finally:
        await renders.close()
    return [
        None if render is None or render.png is None else compare(picture, render.png, domain).score
        for render, picture in zip(made, pictures, strict=True)
    ]


def page(card: dict[str, Any]) -> str:
    """The card for people."""
    names = list(card["greedy"])
    return "\n".join(
        [
            f"# The embedded policy of the domain {card['domain']}",
            "",
            f"Qwen2.5-VL's architecture with {card['parameters'] / 1e6:.1f} million parameters in bfloat16: the "
            "embedded base policy with a tokenizer of this domain's texts, taught the domain's own examples. Licence: "
            "Apache-2.0, as the project. No data from elsewhere.",
            "",
            f"- **Made by** `python -m training.pretrain {card['config']}`, {card['steps']} steps of {card['batch']}, "
            f"of {card['examples']} pictures with sources and {card['lessons']} dialogues with a call of the tool; "
            f"seed {card['seed']}. Hashes: `card.json`.",
            f"- **Measured** on {card['pictures']} held-out pictures, answered at once:",
            "",
            "| | greedy | temperature 1 |",
            "|---|---|---|",
            *(f"| {name} | {card['greedy'][name]:.3f} | {card['temperature 1'][name]:.3f} |" for name in names),
            "",
        ]
    )


def base_sha256() -> str:
    """Of the weights that a start begins with."""
    return hashlib.sha256((SHIPPED / "model.safetensors").read_bytes()).hexdigest()


KIND = Kind(
    subject="a domain's own examples", reads="them", made="python -m training.pretrain", plan={},
    sources=("base/start.py", "base/wordlist.py", "data/examples.py", "data/tiny_policy.py", "jobs/pretrain.py"),
    page=page,
)  # fmt: skip
