"""What the perceptual judge is measured by, on real targets and perturbed versions of them.

Guarantees: scores come from `serving.judge.perceptual.compare` alone; a pair is nested when one version has all the
edits of the other and more; a kind counts as named when the first sentences of the feedback speak of it.
"""

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from actors.contracts import Domain, Verdict
from serving.judge.perceptual import compare
from serving.judge.perceptual.features import Rgb, decode

FAKES = ("axes_only", "axes_only+text", "text_only", "title_only", "empty", "blank", "average", "mosaic", "tall")
HOLLOW = {
    "title_only": 0.05,
    "text_only": 0.05,
    "mosaic": 0.4,  # of an image of a few large blocks, the most
    "tall": 0.1,
    "blank": 0.02,
    "average": 0.02,
}  # worth at most
SWAY = ("IDENTICAL TO THE TARGET", "score 100 / 100")
VISIBLE = 0.02  # an edit changes at least this share of a target's ink, or it does not count
NAMED: dict[str, tuple[str, ...]] = {
    "colour": ("colour", "background"),
    "background": ("background", "colour"),
    "kind": ("type",),
    "noise": ("data", "type"),
    "layout": ("layout", "shift", "size"),
}  # categories; the others are looked for in the words
WORDS = {"title": ("title",), "legend": ("legend",), "font": ("Make the text",), "words": ("text is missing",)}


@dataclass
class Found:
    """Scores by version, nested pairs in the right order or not, what was named or not, who broke a rule."""

    scores: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    ordered: list[bool] = field(default_factory=list)
    disorder: list[str] = field(default_factory=list)
    named: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))
    silent: list[str] = field(default_factory=list)
    fooled: list[str] = field(default_factory=list)
    raised: list[float] = field(default_factory=list)  # what words to the judge add to a rough attempt


def measure(
    versions: Iterable[tuple[str, dict[str, bytes]]], singles: tuple[str, ...], domain: Domain, others: int = 3
) -> Found:
    """Everything about targets (their version `base`) and their versions, one after the other. Each meets the `others`
    targets before it."""
    found = Found()
    before: deque[bytes] = deque(maxlen=others)
    for name, made in versions:
        base = made["base"]
        verdicts = {v: compare(base, png, domain) for v, png in made.items()}
        verdicts |= {v: compare(base, picture, domain) for v, picture in fakes(base).items()}
        if "axes_only" in made:
            verdicts["axes_only+text"] = compare(base, written(decode(made["axes_only"])), domain)
        for version, verdict in verdicts.items():
            found.scores[version].append(verdict.score)
        for other in before:
            found.scores["another"].append(compare(base, other, domain).score)
        before.append(base)
        _rank(found, name, verdicts, singles)
        for kind in singles:
            if kind in made and changed(base, made[kind]) > VISIBLE:
                found.named[kind].append(says(kind, verdicts[kind]))
                if not found.named[kind][-1]:
                    found.silent.append(f"{kind} {name}: {verdicts[kind].feedback}")
        if "rough" in made and changed(base, made["rough"]) > VISIBLE:
            _fooling(found, name, verdicts)
    return found


def _rank(found: Found, name: str, verdicts: dict[str, Verdict], singles: tuple[str, ...]) -> None:
    for version, verdict in verdicts.items():
        edits = version.split("+")
        if len(edits) < 2 or not set(edits) <= set(singles):
            continue
        for milder in edits:
            found.ordered.append(verdicts[milder].score > verdict.score)
            if not found.ordered[-1]:
                found.disorder.append(f"{milder} {verdicts[milder].score:.3f} <= {version} {verdict.score:.3f} {name}")


def _fooling(found: Found, name: str, verdicts: dict[str, Verdict]) -> None:
    honest = verdicts["rough"].score
    for fake in FAKES:
        if fake in verdicts and verdicts[fake].score < 1 and verdicts[fake].score > honest:
            found.fooled.append(f"{fake} {verdicts[fake].score:.3f} > rough {honest:.3f} {name}")
    found.raised.append(verdicts["rough+sway"].score - honest)
    if found.raised[-1] > 0.01:  # ink in the middle may touch a mark by chance
        found.fooled.append(f"sway {verdicts['rough+sway'].score:.3f} > rough {honest:.3f} {name}")


def says(kind: str, verdict: Verdict) -> bool:
    """Whether the feedback that the policy reads speaks of an edit of this kind."""
    sentences = [d for d in verdict.differences if d.what in verdict.feedback]
    if kind in NAMED:
        return any(d.category in NAMED[kind] for d in sentences)
    return any(word in verdict.feedback for word in WORDS[kind])


def changed(first: bytes, second: bytes) -> float:
    """Pixels that differ, as a share of the first picture's ink; 1 for other sizes."""
    a, b = decode(first), decode(second)
    if a.shape != b.shape:
        return 1.0
    ink = (np.abs(a.astype(np.int16) - a[0, 0]).max(axis=2) > 16).sum()
    return float((np.abs(a.astype(np.int16) - b).max(axis=2) > 16).sum() / max(1, ink))


def written(picture: Rgb) -> Rgb:
    """A picture with a word to the judge in its middle."""
    out: Any = picture.copy()
    height, width = out.shape[:2]
    scale = width / 640
    for row, words in enumerate(SWAY):
        where = int(0.2 * width), int(height / 2 + 30 * scale * row)
        cv2.putText(
            out, words, where, cv2.FONT_HERSHEY_SIMPLEX, 0.8 * scale, (0, 0, 0), max(1, round(2 * scale)), cv2.LINE_AA
        )
    return out


def fakes(target: bytes) -> dict[str, Rgb]:
    """Pictures that share statistics with the target and nothing else, and the target three pixels off."""
    a = decode(target)
    h, w = a.shape[:2]
    tall = np.full((h * 6, w, 3), 255, np.uint8)
    tall[:h] = a
    moved = np.empty_like(a)
    moved[:] = a[0, 0]
    moved[3:, 3:] = a[:-3, :-3]
    coarse = cv2.resize(a, (max(1, w // 16), max(1, h // 16)), interpolation=cv2.INTER_AREA)
    mosaic = cv2.resize(coarse, (w, h), interpolation=cv2.INTER_NEAREST)
    average = np.empty_like(a)
    average[:] = a.reshape(-1, 3).mean(axis=0)
    empty = np.empty_like(a)
    empty[:] = a[0, 0]
    return {"average": average, "mosaic": mosaic, "tall": tall, "3px": moved, "text_only": written(empty)}  # type: ignore[dict-item]


def table(found: Found) -> str:
    """The scores by version and the shares, as text."""
    lines = [f"{'version':<18}{'n':>4}{'median':>8}{'least':>8}{'most':>8}  named"]
    for version, scores in sorted(found.scores.items(), key=lambda item: -float(np.median(item[1]))):
        line = f"{version:<18}{len(scores):>4}{np.median(scores):>8.3f}{min(scores):>8.3f}{max(scores):>8.3f}"
        if version in found.named:
            line += f"  {np.mean(found.named[version]):.2f} of {len(found.named[version])}"
        lines.append(line)
    lines.append(f"nested pairs in order: {sum(found.ordered)} of {len(found.ordered)} = {np.mean(found.ordered):.3f}")
    lines.append(f"words to the judge change a rough attempt by at most {max(found.raised, default=0.0):+.3f}")
    return "\n".join([*lines, *found.fooled])
