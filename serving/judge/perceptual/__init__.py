"""Comparing two pictures on a CPU: similarity in 0..1 and the differences in words.

Guarantees: a pure function of the two pictures, with no model, network or clock; identical pixels score 1, a blank
render 0 (unless the target is the same blank); a target is measured once and kept for the renders that follow.
"""

from functools import lru_cache

import numpy as np

from actors.contracts import Difference, Domain, Verdict
from configs.domains import DEFAULT, find
from serving.judge.perceptual.features import Features, Rgb, decode, extract, is_blank
from serving.judge.perceptual.feedback.charts import chart_findings
from serving.judge.perceptual.feedback.pages import findings
from serving.judge.perceptual.feedback.sentences import BLANK, PERFECT, sentence
from serving.judge.perceptual.score import compare_features

BACKEND = "perceptual"


@lru_cache(maxsize=64)
def _measured(target: bytes, domain: Domain) -> tuple[Rgb, Features]:
    pixels = decode(target)
    return pixels, extract(pixels, find(domain).look)


def settled(target: bytes, render: bytes, domain: Domain) -> Verdict | None:
    """The verdict that needs no judge: 1 for identical pixels, 0 for a blank render; None for everything else. Raises
    ValueError, one line, for what is no image."""
    return _settle(_measured(target, domain)[0], decode(render), domain)


def compare(target: bytes | Rgb, render: bytes | Rgb, domain: Domain = DEFAULT) -> Verdict:
    """Similarity of `render` to `target`: PNG or JPEG bytes, or RGB arrays of uint8 [h, w, 3]. Raises ValueError, one
    line, for what is no image."""
    look = find(domain).look
    if isinstance(target, bytes):
        wanted, features = _measured(target, domain)
    else:
        wanted, features = decode(target), extract(target, look)
    pixels = decode(render)
    if (verdict := _settle(wanted, pixels, domain)) is not None:
        return verdict
    comparison = compare_features(features, pixels, look)
    differences = chart_findings(comparison) if look.way == "plot" else findings(comparison)
    return Verdict(comparison.score, sentence(differences), BACKEND, tuple(differences), comparison.terms)


def _settle(target: Rgb, render: Rgb, domain: Domain) -> Verdict | None:
    if np.array_equal(target, render):
        return Verdict(1.0, PERFECT, BACKEND)
    if is_blank(render, find(domain).look):
        return Verdict(0.0, BLANK, BACKEND, (Difference("blank", 3, "everywhere", BLANK),))
    return None
