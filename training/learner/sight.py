"""The blindness check: do the pictures change what the policy says, in the learner and in the engine, turn by turn?

Guarantees: every figure is a change of the log-likelihood of the policy's own answers, in nats, when their pictures are
exchanged for those of other answers or greyed, of the same size, so that nothing but pixels differs; the same answers
are compared with the log-probabilities that the engine gave when it sampled them. From the two follows who is blind:

    pictures change nothing, learner and engine agree      the policy does not look
    pictures change nothing, learner and engine disagree   the learner's pictures are lost
    pictures matter, disagreement, answers fit no better   the engine's pictures are lost
    pictures matter, disagreement, answers fit better      they see different pictures (another processor)

Rewards and losses show none of this: a policy whose pictures are lost goes on learning to write programs that run.
"""

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np
import torch
from PIL import Image

from training.learner.packing import Row, Screened, pack
from training.learner.update import Learner, Shard

COUNT = 16  # answers that are scored, of as many groups
MATTERS = 0.05  # nats a turn: a change below is none; reading one of two colours is worth 0.69
AGREES = 0.01  # k3 a token between engine and learner; rounding gives below 0.001, a lost picture some tenths
SIGMAS = 3.0  # standard errors by which answers must fit their own pictures better than others
GREY = (128, 128, 128)
ATTRIBUTES = {  # where a program states what it read; every place in the turn that states the same counts
    "kind": re.compile(r"\.(\w+)\(\["),
    "colour": re.compile(r"colors?=\[?['\"]([^'\"]+)"),
    "title": re.compile(r"title\(['\"]([^'\"]+)"),
    "values": re.compile(r"\[[^\]]*\],\s*\[([^\]]+)\]"),
}


class Blind(RuntimeError):
    """The pictures change nothing; the message says on which side and turn."""


@dataclass(frozen=True)
class Probe:
    """The same answers under true, exchanged and grey pictures. Rows of a variant are in one order."""

    rows: tuple[Row, ...]
    shards: dict[str, list[Shard]]  # variant -> one a rank

    @property
    def width(self) -> int:
        return max(int(row.sampled.sum()) for row in self.rows)


def probe(screened: Screened, learner: Learner, version: int) -> Probe | None:
    """Up to COUNT answers of different groups, those with most turns and of these weights first; None where there are
    not two targets to exchange."""
    ordered = sorted(screened.rows, key=lambda r: (-turn_count(r), -int((r.versions == version).sum())))
    chosen: dict[str, Row] = {}
    for row in ordered:
        chosen.setdefault(row.images[0], row)
    rows = tuple(replace(row, group=n, member=0, weight=1.0) for n, row in enumerate(list(chosen.values())[:COUNT]))
    if len(rows) < 2:
        return None
    images = screened.images
    targets = [images[row.images[0]] for row in rows]
    variants: dict[str, list[tuple[Row, dict[str, bytes]]]] = {
        "true": [(row, {name: images[name] for name in row.images}) for row in rows],
        "exchanged": [_shown(row, images, targets[n - 1]) for n, row in enumerate(rows)],
        "grey": [_shown(row, images, None) for row in rows],
    }
    if any(len(row.images) > 1 for row in rows):
        variants["renders"] = [_shown(row, images, targets[n - 1], first=1) for n, row in enumerate(rows)]
    return Probe(rows, {name: _shards(made, learner) for name, made in variants.items()})


def _shown(row: Row, images: Mapping[str, bytes], other: bytes | None, first: int = 0) -> tuple[Row, dict[str, bytes]]:
    """The row with its pictures from place `first` on replaced by `other` (None: grey), each in its own size."""
    shown = {n: images[n] for n in row.images[:first]}
    names = list(row.images[:first])
    for name in row.images[first:]:
        size = Image.open(io.BytesIO(images[name])).size
        made = Image.new("RGB", size, GREY) if other is None else Image.open(io.BytesIO(other)).convert("RGB")
        out = io.BytesIO()
        made.resize(size).save(out, "PNG")
        names.append(hashlib.sha256(out.getvalue()).hexdigest())
        shown[names[-1]] = out.getvalue()
    return replace(row, images=tuple(names)), shown


def _shards(made: Sequence[tuple[Row, dict[str, bytes]]], learner: Learner) -> list[Shard]:
    ranks, budget = learner.ranks.size, learner.config.learner.token_budget
    images = {name: png for _, shown in made for name, png in shown.items()}
    parts = pack([row for row, _ in made], budget, ranks, learner.limits.image_token)
    return [Shard((tuple(part),), images) for part in parts]


def score(learner: Learner, shard: Shard, count: int, width: int) -> np.ndarray:
    """Log-probabilities (count, width) of every row's sampled tokens, 0 beyond its end; every rank calls it."""
    found = torch.zeros(count, width, dtype=torch.float64)
    with torch.no_grad():
        for bundles in shard.updates[0]:
            batch, logp, _ = learner._forward(learner.policy, bundles, shard.images)
            for number, row in enumerate(batch.rows):
                if row.weight > 0:
                    values = logp[batch.sequence == number].double().cpu()
                    found[row.group, : len(values)] = values
    return learner.ranks.total(found).numpy()


def turn_count(row: Row) -> int:
    return int((row.sampled & ~np.concatenate([[False], row.sampled[:-1]])).sum())


def turns_of(row: Row) -> np.ndarray:
    """Turn (from 0) of each sampled token; a turn is an unbroken run of them."""
    starts = row.sampled & ~np.concatenate([[False], row.sampled[:-1]])
    return np.cumsum(starts)[row.sampled] - 1


@dataclass(frozen=True)
class Turn:
    """One turn over all answers that have it."""

    change: list[float]  # nats that an answer loses when its pictures are exchanged
    grey: list[float]
    mismatch: float | None  # k3 a token of engine and learner, both at these weights; None where nobody sampled so

    @property
    def matters(self) -> float:
        return fmean(abs(c) for c in self.change)

    @property
    def fits(self) -> bool:
        """Answers fit their own pictures better than others, beyond doubt."""
        if len(self.change) < 2:
            return fmean(self.change) > 0
        return fmean(self.change) > SIGMAS * float(np.std(self.change, ddof=1)) / len(self.change) ** 0.5


def compare(rows: Sequence[Row], scores: Mapping[str, np.ndarray], version: int) -> list[Turn]:
    """Turn by turn."""
    found = []
    for number in range(max(turn_count(row) for row in rows)):
        change, grey, k3 = [], [], []
        for n, row in enumerate(rows):
            mine = np.flatnonzero(turns_of(row) == number)
            if not len(mine):
                continue
            own = scores["true"][n, mine]
            change.append(float((own - scores["exchanged"][n, mine]).sum()))
            grey.append(float((own - scores["grey"][n, mine]).sum()))
            if (row.versions[row.sampled][mine] == version).all():
                ratio = np.minimum(own - row.behaviour[row.sampled][mine], 20.0)
                k3.extend((np.expm1(ratio) - ratio).tolist())
        found.append(Turn(change, grey, fmean(k3) if k3 else None))
    return found


def faults(turns: Sequence[Turn]) -> list[str]:
    """One line for each turn whose pictures are lost on one side; a first turn that pictures do not change is a policy
    that does not look, a later one may well repeat itself without looking."""
    lines = []
    for number, turn in enumerate(turns, 1):
        changed = f"exchanged pictures change the log-likelihood of turn {number} by {turn.matters:.3f} nats"
        if turn.mismatch is not None and turn.mismatch > AGREES:
            apart = f"engine and learner disagree by k3 {turn.mismatch:.3f} a token"
            if turn.matters < MATTERS:
                lines.append(f"the learner does not see the pictures in turn {number}: {changed}, {apart}")
            elif not turn.fits:
                lines.append(
                    f"the engine does not see the pictures in turn {number}: others fit its answers as well, {apart}"
                )
            else:
                lines.append(f"engine and learner see different pictures in turn {number}: {changed}, {apart}")
        elif number == 1 and turn.matters < MATTERS:
            lines.append(f"the policy does not look at its pictures: {changed}")
    return lines


def figures(
    rows: Sequence[Row], scores: Mapping[str, np.ndarray], turns: Sequence[Turn], tokenizer: Any
) -> dict[str, float]:
    """For the log: nats by turn, picture and attribute, and the mismatch by turn."""
    found: dict[str, float] = {}
    for number, turn in enumerate(turns, 1):
        found[f"sight_turn{number}"] = fmean(turn.change)
        found[f"sight_grey_turn{number}"] = fmean(turn.grey)
        if turn.mismatch is not None:
            found[f"mismatch_k3_turn{number}"] = turn.mismatch
    gaps = scores["true"] - scores["exchanged"]
    if "renders" in scores:
        found["sight_renders"] = fmean((scores["true"] - scores["renders"]).sum(1).tolist())
    by_attribute: dict[str, list[float]] = {}
    for n, row in enumerate(rows):
        for name, places in attribute_tokens(row, tokenizer).items():
            by_attribute.setdefault(name, []).append(float(gaps[n, places].sum()))
    return found | {f"sight_{name}": fmean(values) for name, values in by_attribute.items()}


def attribute_tokens(row: Row, tokenizer: Any) -> dict[str, list[int]]:
    """Places among the sampled tokens of the last turn where it states each attribute of its program: also where it
    reads the chart out before, as what follows only copies that."""
    turns = turns_of(row)
    places = np.flatnonzero(turns == turns[-1])
    pieces = [tokenizer.decode([i], skip_special_tokens=False) for i in row.ids[row.sampled][places].tolist()]
    text, ends = "".join(pieces), np.cumsum([len(piece) for piece in pieces])
    found = {}
    for name, pattern in ATTRIBUTES.items():
        if (stated := pattern.search(text)) is None:
            continue
        spans = [m.span() for m in re.finditer(re.escape(stated[1]), text)]
        found[name] = [
            int(place)
            for place, piece, end in zip(places, pieces, ends.tolist(), strict=True)
            if any(end > start and end - len(piece) < stop for start, stop in spans)
        ]
    return found
