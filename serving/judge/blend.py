"""Judges made of others: `attributes` of the perceptual judge alone, and `blend`, several by their weights.

Guarantees: a blend's score is the weighted mean of its parts' scores; words and findings are those of the first part
that has findings; an outage of one part is an outage of the whole, since a mean over what happened to answer would be
another judge.
"""

import asyncio
from dataclasses import replace
from typing import Any

from actors.contracts import Domain, Verdict
from serving.judge.perceptual import compare

ATTRIBUTES = ("text", "palette", "edges")


def attributes(target: bytes, render: bytes, domain: Domain) -> Verdict:
    """The mean of the F1 of text lines, the agreement of colours and the F1 of outlines, as far as the pictures have
    any: rewards by attribute without labels (of charts, as ChartMimic's low-level scores name them)."""
    whole = compare(target, render, domain)
    parts = {name: whole.sub_scores[name] for name in ATTRIBUTES if name in whole.sub_scores}
    score = sum(parts.values()) / len(parts) if parts else whole.score
    return replace(whole, score=score, backend="attributes", sub_scores=parts)


class Blend:
    """The backend over `parts`: (weight, backend)."""

    def __init__(self, parts: list[tuple[float, Any]]) -> None:
        self._parts = parts
        self.version = "blend " + " ".join(f"{weight:g}*{backend.version}" for weight, backend in parts)

    async def judge(self, target: bytes, render: bytes, domain: Domain) -> Verdict:
        """Raises what a part raises."""
        asked = (backend.judge(target, render, domain) for _, backend in self._parts)
        verdicts: list[Verdict] = list(await asyncio.gather(*asked))
        weights = [weight for weight, _ in self._parts]
        score = sum(w * v.score for w, v in zip(weights, verdicts, strict=True)) / sum(weights)
        first = next((v for v in verdicts if v.differences), verdicts[0])
        scores = {f"{v.backend}": v.score for v in verdicts}
        return replace(first, score=score, backend="blend", sub_scores=scores, seconds=sum(v.seconds for v in verdicts))

    async def close(self) -> None:
        for _, backend in self._parts:
            await backend.close()

    def stats(self) -> dict[str, float]:
        """What the parts count, added up."""
        found: dict[str, float] = {}
        for _, backend in self._parts:
            for name, count in backend.stats().items():
                found[name] = found.get(name, 0.0) + count
        return found
