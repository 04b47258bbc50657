"""From groups of trajectories to packed micro-batches: screened, weighted, length-balanced, nothing padded.

Guarantees: what cannot be trained on never reaches a forward pass: it is dropped and counted by reason (see `screen`),
and a batch of which nothing is left raises `BadBatch`. Members of a group share their prompt: its tokens appear once
in a micro-batch and its picture is seen once. Every placeholder has its image feature. A trajectory is never split, and
every rank gets the same number of micro-batches.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from actors.trajectory import Group, Trajectory
from configs.schema import Grpo
from training.learner import grpo
from training.learner.attention import Layout, Segment
from training.learner.image_inputs import Grid, Pixels, WholePictures


class BadBatch(ValueError):
    """Nothing of a batch can be trained on; the message counts the reasons."""


@dataclass(frozen=True)
class Limits:
    """What the model can take."""

    vocabulary: int
    max_tokens: int  # of one trajectory
    image_token: int
    banned: frozenset[int]  # ids that the engine cannot have sampled


@dataclass(frozen=True)
class Row:
    """One trajectory as the learner needs it; arrays of length L. `weight` is a sampled token's share of the loss."""

    ids: np.ndarray  # int64
    sampled: np.ndarray  # bool
    behaviour: np.ndarray  # float32
    versions: np.ndarray  # int64
    images: tuple[str, ...]  # content hashes, in placeholder order
    grids: tuple[Grid, ...]
    group: int
    member: int  # place in its group
    advantage: float = 0.0
    weight: float = 0.0


@dataclass(frozen=True)
class Screened:
    """Rows that can be trained on, the pictures they show (by hash, each once) and what was dropped, by reason."""

    rows: tuple[Row, ...]
    images: dict[str, bytes]
    dropped: Counter[str]


def screen(
    groups: Sequence[Group],
    limits: Limits,
    pixels: Pixels | WholePictures,
    settings: Grpo,
    weights: Sequence[float] = (),
) -> Screened:
    """Check every trajectory and give the good ones their advantages. `weights` of the reward's parts (vision, format,
    tool) are needed with `grpo.parts=apart`.

    Dropped whole: a group with a reward that is not finite (`reward`) or with fewer than two usable members
    (`lonely`). Dropped alone: a trajectory with arrays of unequal length (`shape`), no sampled token (`empty`), a first
    token marked as sampled (`mask`), an id outside the vocabulary (`vocabulary`), a sampled id that is banned
    (`banned`), a log-probability that is not finite (`logprob`), placeholders that do not match its pictures
    (`images`), more than `max_tokens` (`long`), cut off by its limit (`overlong`, with `grpo.mask_overlong`), or played
    to be compared with alone (`control`). The others' advantages are computed without it.
    """
    dropped: Counter[str] = Counter()
    images: dict[str, bytes] = {}
    names: dict[bytes, str] = {}
    rows: list[Row] = []
    for group in groups:
        rewards = [t.reward.total for t in group.trajectories]
        if not all(math.isfinite(r) for r in rewards):
            dropped["reward"] += len(rewards)
            continue
        kept: list[Row] = []
        for place, trajectory in enumerate(group.trajectories):
            for png in trajectory.images:
                names.setdefault(png, hashlib.sha256(png).hexdigest())
            row = row_of(trajectory, group.group, place, tuple(names[png] for png in trajectory.images), limits, pixels)
            if isinstance(row, str):
                dropped[row] += 1
            elif trajectory.control:
                dropped["control"] += 1
            elif settings.mask_overlong and trajectory.ending == "length":
                dropped["overlong"] += 1
            else:
                kept.append(row)
        if len(kept) < 2:
            dropped["lonely"] += len(kept)
            continue
        found = _advantages([group.trajectories[row.member] for row in kept], settings, weights)
        rows.extend(replace(row, advantage=value) for row, value in zip(kept, found, strict=True))
        for row in kept:
            images.update(zip(row.images, group.trajectories[row.member].images, strict=True))
    if not rows:
        raise BadBatch(f"no trajectory of {len(groups)} groups can be trained on: {dict(dropped)}")
    if settings.parts == "apart":
        scaled = grpo.rescale(torch.tensor([row.advantage for row in rows], dtype=torch.float64)).tolist()
        rows = [replace(row, advantage=value) for row, value in zip(rows, scaled, strict=True)]
    return Screened(tuple(rows), images, dropped)


def _advantages(played: Sequence[Trajectory], settings: Grpo, weights: Sequence[float]) -> list[float]:
    """Of one group. Apart, similarity is compared among members whose last program ran: a program that does not run
    shows no picture, and the form's part has its price."""
    if settings.parts == "sum":
        return grpo.advantages(
            torch.tensor([t.reward.total for t in played], dtype=torch.float64), settings.advantage
        ).tolist()
    if settings.parts != "apart":
        raise ValueError(f"grpo.parts={settings.parts}: sum or apart")
    parts = [[t.reward.vision if t.ran else math.nan, t.reward.format, t.reward.tool] for t in played]
    held = torch.tensor(parts, dtype=torch.float64)
    return grpo.advantages_by_part(held, torch.tensor(weights, dtype=torch.float64), settings.advantage).tolist()


def weigh(rows: Sequence[Row], settings: Grpo) -> tuple[Row, ...]:
    """The rows of one optimiser step with their tokens' shares of its loss."""
    lengths = torch.tensor([int(row.sampled.sum()) for row in rows])
    weights = grpo.token_weights(lengths, settings.aggregate, settings.constant_length).tolist()
    return tuple(replace(row, weight=weight) for row, weight in zip(rows, weights, strict=True))


def row_of(
    t: Trajectory, group: int, place: int, images: tuple[str, ...], limits: Limits, pixels: Pixels | WholePictures
) -> Row | str:
    """The row of a trajectory whose pictures have hashes `images`, or the reason why there is none (see `screen`)."""
    length = len(t.token_ids)
    if not length == len(t.sampled) == len(t.logprobs) == len(t.versions):
        return "shape"
    if length > limits.max_tokens:
        return "long"
    ids, sampled = np.asarray(t.token_ids, dtype=np.int64), np.asarray(t.sampled, dtype=bool)
    if not sampled.any():
        return "empty"
    if sampled[0]:
        return "mask"
    if ids.min() < 0 or ids.max() >= limits.vocabulary:
        return "vocabulary"
    if not limits.banned.isdisjoint(ids[sampled].tolist()):
        return "banned"
    behaviour = np.asarray(t.logprobs, dtype=np.float32)
    if not np.isfinite(behaviour).all():
        return "logprob"
    try:
        grids = tuple(pixels.grid(png, name) for png, name in zip(t.images, images, strict=True))
    except ValueError:
        return "images"
    wanted = [pixels.tokens(grid) for grid in grids]
    runs = [stop - start for start, stop in placeholder_runs(ids, limits.image_token)]
    if runs != wanted if pixels.packed else sum(runs) != sum(wanted):  # rows and tiles break a picture's run
        return "images"
    versions = np.asarray(t.versions, dtype=np.int64)
    return Row(ids, sampled, behaviour, versions, images, grids, group, place)


def placeholder_runs(ids: np.ndarray, image_token: int) -> list[tuple[int, int]]:
    """[start, stop) of every unbroken run of placeholders."""
    marked = np.concatenate([[False], ids == image_token, [False]]).astype(np.int8)
    edges = np.flatnonzero(np.diff(marked))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def positions(ids: np.ndarray, grids: Sequence[Grid], image_token: int, merge: int) -> np.ndarray:
    """M-RoPE positions (3, L) of one trajectory: temporal, height, width (Qwen2-VL, arXiv 2409.12191, section 2.1).

    Text counts on in all three; a picture spans its merged grid from the position it starts at, and the text after it
    goes on at that start plus the grid's longer side, as in transformers' `get_rope_index` and in vLLM.
    """
    out = np.empty((3, len(ids)), dtype=np.int64)
    cursor = at = 0
    for (start, stop), (_, height, width) in zip(placeholder_runs(ids, image_token), grids, strict=True):
        out[:, cursor:start] = at + np.arange(start - cursor)
        at += start - cursor
        h, w = height // merge, width // merge
        out[0, start:stop] = at
        out[1, start:stop] = at + np.repeat(np.arange(h), w)
        out[2, start:stop] = at + np.tile(np.arange(w), h)
        at += max(h, w)
        cursor = stop
    out[:, cursor:] = at + np.arange(len(ids) - cursor)
    return out


Bundle = tuple[Row, ...]  # rows that share a prompt


def shared_prefix(rows: Sequence[Row], image_token: int) -> int:
    """Tokens at the start that all rows have in common, pictures included; never a sampled one. 0 for a lone row."""
    if len(rows) < 2:
        return 0
    keys = [_content(row, image_token) for row in rows]
    limit = min(int(row.sampled.argmax()) for row in rows)
    limit = min(limit, *(len(key) for key in keys))
    same = np.all([key[:limit] == keys[0][:limit] for key in keys[1:]], axis=0)
    return limit if same.all() else int(same.argmin())


def _content(row: Row, image_token: int) -> np.ndarray:
    """Ids with every placeholder replaced by a number that stands for its picture."""
    out = row.ids.copy()
    for (start, stop), name in zip(placeholder_runs(row.ids, image_token), row.images, strict=True):
        out[start:stop] = -1 - int(name[:15], 16)
    return out


def tokens_of(bundle: Sequence[Row], image_token: int) -> int:
    """Tokens that a bundle takes in a micro-batch."""
    return sum(len(r.ids) for r in bundle) - (len(bundle) - 1) * shared_prefix(bundle, image_token)


def pack(
    rows: Sequence[Row], budget: int, ranks: int, image_token: int, *, shared: bool = True
) -> list[list[list[Bundle]]]:
    """Micro-batches for each rank: [rank][step] -> bundles. All ranks get equally many, of about equal size.

    Longest first into the emptiest bin (LPT); no bin exceeds `budget` tokens unless a single trajectory does. A group
    is cut only where it is larger than a bin. A rank with nothing to do repeats the shortest row with weight 0.
    `shared=False`: every trajectory is a bundle of its own.
    """
    groups: dict[int, list[Row]] = {}
    for number, row in enumerate(rows):
        groups.setdefault(row.group if shared else number, []).append(row)
    share = math.ceil(sum(tokens_of(g, image_token) for g in groups.values()) / ranks)
    sized = [
        (tokens_of(piece, image_token), piece)
        for members in groups.values()
        for piece in _pieces(members, min(budget, share), image_token)
    ]
    sized.sort(key=lambda unit: -unit[0])
    count = ranks * math.ceil(sum(size for size, _ in sized) / (budget * ranks))
    while (bins := _fill(sized, count, budget)) is None:
        count += ranks
    shortest = min(rows, key=lambda row: len(row.ids))
    filled = [b or [(replace(shortest, weight=0.0),)] for b in bins]
    return [filled[rank::ranks] for rank in range(ranks)]


def _pieces(rows: Sequence[Row], limit: int, image_token: int) -> list[Bundle]:
    """A group cut into as few bundles of at most `limit` tokens as its order allows."""
    pieces: list[Bundle] = []
    for row in sorted(rows, key=lambda r: -len(r.ids)):
        if pieces and tokens_of((*pieces[-1], row), image_token) <= limit:
            pieces[-1] = (*pieces[-1], row)
        else:
            pieces.append((row,))
    return pieces


def _fill(sized: Sequence[tuple[int, Bundle]], count: int, budget: int) -> list[list[Bundle]] | None:
    """Bundles in `count` bins, or None where one would overflow that holds more than one."""
    loads, bins = [0] * count, [[] for _ in range(count)]  # type: list[int], list[list[Bundle]]
    for size, bundle in sized:
        emptiest = loads.index(min(loads))
        if loads[emptiest] and loads[emptiest] + size > budget:
            return None
        loads[emptiest] += size
        bins[emptiest].append(bundle)
    return bins


@dataclass(frozen=True)
class MicroBatch:
    """Flat tensors of one forward pass: T tokens, N of them to be predicted, P placeholders."""

    ids: Tensor  # (T,)
    positions: Tensor  # (3, T)
    layout: Layout
    images: tuple[str, ...]  # distinct pictures, the order of their features
    slots: Tensor  # (P,) places of placeholders among T
    features: Tensor  # (P,) which row of the features goes there
    source: Tensor  # (N,) place whose hidden state predicts the token; the end of a shared prompt serves many
    target: Tensor  # (N,)
    sequence: Tensor  # (N,) trajectory number 0..S-1
    opened: Tensor  # (N,) weight version that sampled the first token of the token's turn
    behaviour: Tensor  # (N,) float32
    advantage: Tensor  # (N,) float32
    weight: Tensor  # (N,) float32
    rows: tuple[Row, ...] = field(repr=False, default=())

    def to(self, device: torch.device) -> "MicroBatch":
        moved: dict[str, Any] = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **moved)


def _opened(row: Row) -> np.ndarray:
    """For every sampled token the version at the start of its unbroken run of sampled tokens."""
    starts = row.sampled & ~np.concatenate([[False], row.sampled[:-1]])
    return row.versions[starts][np.cumsum(starts)[row.sampled] - 1]


def build(bundles: Sequence[Bundle], image_token: int, pixels: Pixels | WholePictures) -> MicroBatch:
    """Lay the bundles flat: each prompt once, then every member's own tokens."""
    parts: dict[str, list[np.ndarray]] = {k: [] for k in ("ids", "positions", "source", "slots", "features")}
    offsets: dict[str, int] = {}
    total = 0
    for name, grid in {n: g for b in bundles for row in b for n, g in zip(row.images, row.grids, strict=True)}.items():
        offsets[name] = total
        total += pixels.tokens(grid)
    segments: list[Segment] = []
    cursor = 0

    def lay(row: Row, start: int, stop: int) -> None:
        """Append tokens [start, stop) of a row at `cursor`, their positions and their pictures."""
        nonlocal cursor
        parts["ids"].append(row.ids[start:stop])
        cursor += stop - start
        if not pixels.packed:
            return
        begin = cursor - stop + start
        parts["positions"].append(positions(row.ids, row.grids, image_token, pixels.merge)[:, start:stop])
        for (first, last), name in zip(placeholder_runs(row.ids, image_token), row.images, strict=True):
            if start <= first < stop:
                parts["slots"].append(begin - start + np.arange(first, last))
                parts["features"].append(offsets[name] + np.arange(last - first))

    for bundle in bundles:
        shared = shared_prefix(bundle, image_token)
        base = cursor
        if shared:
            lay(bundle[0], 0, shared)
            segments.append(Segment(base, cursor))
        for row in bundle:
            begin = cursor
            lay(row, shared, len(row.ids))
            segments.append(Segment(begin, cursor, base, base + shared))
            before = np.flatnonzero(row.sampled) - 1
            parts["source"].append(np.where(before < shared, base + before, begin - shared + before))
    rows = tuple(row for bundle in bundles for row in bundle)
    counts = [int(row.sampled.sum()) for row in rows]

    def flat(name: str) -> Tensor:
        return torch.from_numpy(np.concatenate([getattr(row, name)[row.sampled] for row in rows]))

    def spread(values: Sequence[float], dtype: torch.dtype) -> Tensor:
        return torch.tensor(values, dtype=dtype).repeat_interleave(torch.tensor(counts))

    def joined(name: str, axis: int = 0) -> Tensor:
        return torch.from_numpy(np.concatenate(parts[name], axis) if parts[name] else np.empty(0, dtype=np.int64))

    return MicroBatch(
        ids=joined("ids"),
        positions=joined("positions", 1),
        layout=Layout(tuple(segments)),
        images=tuple(offsets),
        slots=joined("slots"),
        features=joined("features"),
        source=joined("source"),
        target=flat("ids"),
        sequence=spread(range(len(rows)), torch.int64),
        opened=torch.from_numpy(np.concatenate([_opened(row) for row in rows])),
        behaviour=flat("behaviour"),
        advantage=spread([row.advantage for row in rows], torch.float32),
        weight=spread([row.weight for row in rows], torch.float32),
        rows=rows,
    )
