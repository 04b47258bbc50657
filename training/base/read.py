"""What a policy reads off pictures: its programs' attributes against what the pictures show.

Guarantees: greedy answers are deterministic; sampled ones depend on the seed; banned ids are never sampled, as in
rollouts; attributes are read from the program's text, similarity by the renderer and the judge of rollouts. `exchanged`
scores every answer against another picture's facts, which is what a policy that does not look would get.
"""

import asyncio
import io
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from actors.contracts import RenderResult
from actors.dialogue import Codec, parse_turn
from actors.families.tokens import banned_ids
from configs.load import ConfigError
from configs.schema import Config, Prompts
from serving.judge.perceptual import compare
from training.base.pictures import rgb
from training.data import page_looks
from training.data.chart_looks import Look, drawing
from training.data.labels import CHARTS, PAGES, Labels, labels_of
from training.data.own_images import rendered
from training.data.shipped import unpack
from training.data.synthetic_charts import KINDS, chart
from training.data.synthetic_pages import page


@dataclass(frozen=True)
class Answer:
    """One answer to one picture. `program` is None where the turn is malformed."""

    text: str
    program: str | None
    read: Any | None  # what the program shows


class Reader:
    """A policy that answers pictures in one turn; transformers on this process's processor, no engine."""

    def __init__(self, model: str | Path, prompts: Prompts, labels: Labels = CHARTS, max_tokens: int = 200) -> None:
        from transformers import Qwen2_5_VLForConditionalGeneration

        self.codec = Codec.load(str(model), prompts)
        self.model: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(model, dtype=torch.float32).eval()
        self.labels, self.max_tokens = labels, max_tokens

    def answers(
        self, pictures: Sequence[bytes], *, temperature: float = 0.0, samples: int = 1, seed: int = 0, batch: int = 64
    ) -> list[list[Answer]]:
        """`samples` answers to each picture; temperature 0 is greedy."""
        torch.manual_seed(seed)
        by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
        images = [Image.open(io.BytesIO(png)).convert("RGB") for png in pictures]
        for i, image in enumerate(images):
            by_size[image.size].append(i)  # one size, one prompt length: nothing is padded
        found: list[list[Answer]] = [[] for _ in pictures]
        for members in by_size.values():
            jobs = [i for i in members for _ in range(samples)]
            for start in range(0, len(jobs), batch):
                chosen = jobs[start : start + batch]
                for i, answer in zip(chosen, self._batch([images[i] for i in chosen], temperature), strict=True):
                    found[i].append(answer)
        return found

    @torch.no_grad()
    def _batch(self, images: list[Image.Image], temperature: float) -> list[Answer]:
        tokenizer = self.codec.tokenizer
        inputs = self.codec.processor(
            text=[self.codec.opening(direct=True)] * len(images), images=images, return_tensors="pt"
        )
        drawn = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {}
        ids = self.model.generate(
            **inputs,
            max_new_tokens=self.max_tokens,
            suppress_tokens=list(banned_ids(tokenizer)),
            eos_token_id=[tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("</answer>")],
            pad_token_id=tokenizer.pad_token_id,
            **({"do_sample": False} | drawn),
        )
        texts = [self._text(row) for row in ids[:, inputs["input_ids"].shape[1] :].tolist()]
        programs = [parse_turn(text, tool=False)[1] for text in texts]
        read = self.labels.attributes
        return [Answer(t, p, None if p is None else read(p)) for t, p in zip(texts, programs, strict=True)]

    def _text(self, ids: list[int]) -> str:
        pad = self.codec.tokenizer.pad_token_id
        return self.codec.decode([i for i in ids if i != pad])


def table(facts: Sequence[Any], answers: Sequence[Sequence[Answer]], labels: Labels = CHARTS) -> dict[str, float]:
    """Means over pictures and samples, with `answered` (well formed), and each attribute against the facts of the
    next picture of the set (`exchanged`)."""
    rows: dict[str, list[float]] = defaultdict(list)
    for i, mine in enumerate(answers):
        other = facts[(i + 1) % len(facts)]
        for answer in mine:
            rows["answered"].append(float(answer.program is not None))
            for name, hit in labels.hits(facts[i], answer.read).items():
                rows[name].append(hit)
            for name, hit in labels.hits(other, answer.read).items():
                rows[f"exchanged {name}"].append(hit)
    return {name: float(np.mean(row)) for name, row in rows.items()}


async def similarities(
    pictures: Sequence[bytes], answers: Sequence[Sequence[Answer]], config: Config
) -> list[list[float | None]]:
    """The judge's score of every answer's render; None where the program is missing or does not run."""
    programs = [answer.program for mine in answers for answer in mine if answer.program is not None]
    distinct = list(dict.fromkeys(programs))
    drawn = await rendered(distinct, config.data.domain, config.render)
    results: dict[str, RenderResult] = dict(zip(distinct, drawn, strict=True))

    def score(picture: bytes, answer: Answer) -> float | None:
        result = results.get(answer.program or "")
        if result is None or result.png is None:
            return None
        return compare(picture, result.png, config.data.domain).score

    return [[score(p, answer) for answer in mine] for p, mine in zip(pictures, answers, strict=True)]


def kill_test(
    facts: Sequence[Any],
    answers: Sequence[Sequence[Answer]],
    scores: Sequence[Sequence[float | None]],
    labels: Labels = CHARTS,
) -> dict[str, float]:
    """What there is to amplify: each attribute of the sample that has most of it, the mean similarity, the best
    sample's and the difference (no program counts 0)."""
    best: dict[str, list[float]] = defaultdict(list)
    mean, top = [], []
    for shown, mine, row in zip(facts, answers, scores, strict=True):
        found = [labels.hits(shown, answer.read) for answer in mine]
        for name in labels.names:
            best[f"best {name} of samples"].append(max(hits[name] for hits in found))
        mean.append(float(np.mean([s or 0.0 for s in row])))
        top.append(max(s or 0.0 for s in row))
    return {name: float(np.mean(row)) for name, row in best.items()} | {
        "mean similarity": float(np.mean(mean)),
        "best of samples": float(np.mean(top)),
        "best minus mean": float(np.mean(top) - np.mean(mean)),
    }


def own(config: Config, count: int, seed: int = 0) -> tuple[list[Any], list[bytes]]:
    """What the generator that the domain's policy learned from holds out, half plain and half in a look. None of it was
    looked at while the policy was trained (those figures come from the first numbers of each set)."""
    return _own_pages(config, count, seed) if labels_of(config.data.domain) is PAGES else _own_charts(count, seed)


def _own_charts(count: int, seed: int) -> tuple[list[Any], list[bytes]]:
    shown, pictures = [], []
    for i in range(count):
        look: Look = "mild" if i // len(KINDS) % 2 else "plain"
        found = chart(KINDS[i % len(KINDS)], look, 10_000 + i, seed, "heldout")
        out = io.BytesIO()
        Image.fromarray(rgb(drawing(found, look, 10_000 + i, seed))).save(out, "PNG")
        shown.append(found)
        pictures.append(out.getvalue())
    return shown, pictures


def _own_pages(config: Config, count: int, seed: int) -> tuple[list[Any], list[bytes]]:
    shown = [page(5, 10_000 + i, seed, "heldout") for i in range(count)]
    sources = [page_looks.drawing(found, f"own/{i}" if i % 2 else None) for i, found in enumerate(shown)]
    drawn = [result.png for result in asyncio.run(rendered(sources, config.data.domain, config.render))]
    pictures = [png for png in drawn if png is not None]
    assert len(pictures) == count, "a page of the generator is not drawn"
    return list(shown), pictures


def foreign(config: Config, name: str, count: int, cache: Path = Path(".cache/rrvf")) -> tuple[list[Any], list[bytes]]:
    """What a shipped set of the domain shows, and its pictures. Raises ConfigError."""
    labels = labels_of(config.data.domain) or CHARTS
    folder = unpack(labels.file, cache) / name
    if not folder.is_dir():
        raise ConfigError(f"no set {name} among the shipped pictures; there are {', '.join(sets(folder.parent))}")
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()[:count]]
    return [labels.shown_by(row) for row in rows], [(folder / row["file"]).read_bytes() for row in rows]


def sets(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob("*/manifest.jsonl"))


def grey(picture: bytes) -> bytes:
    """A picture of the same size without anything on it."""
    out = io.BytesIO()
    Image.new("RGB", Image.open(io.BytesIO(picture)).size, (200, 200, 200)).save(out, "PNG")
    return out.getvalue()


def measure(
    model: str | Path, config: Config, shown: Sequence[Any], pictures: Sequence[bytes], temperature: float
) -> dict[str, float]:
    """Every attribute's share of right answers, what runs and how similar it is, rounded for a card."""
    labels = labels_of(config.data.domain) or CHARTS
    answers = Reader(model, config.prompts, labels).answers(pictures, temperature=temperature)
    scores = asyncio.run(similarities(pictures, answers, config))
    found = table(shown, answers, labels)
    found["runs"] = float(np.mean([row[0] is not None for row in scores]))
    found["similarity"] = float(np.mean([row[0] or 0.0 for row in scores]))
    return {name: round(value, 4) for name, value in found.items()}
