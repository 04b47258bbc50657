"""Is a named fault mended? One fault is put into the true program, and the policy answers the judge's words on it.

Guarantees: the first turn is the same tokens in every condition: the program with its fault, under the line that reads
it out, as the base policy writes turns; conditions differ by one thing. `right` feedback is the judge's on that very
program, `empty` is none, `shuffled` is the feedback on another program, `grey` is the right feedback before a target
without a picture, so what is mended there was mended by the words alone. Mended and kept are read from the program's
text against what the picture shows; the judge has no part in that.
"""

import io
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from PIL import Image

from actors.dialogue import Dialogue
from actors.images import read_image
from actors.rollout.episode import Environment, Rules
from training.data.image_sets import ImageSet
from training.data.synthetic_charts import COLOURS, KINDS, TITLES, Chart, attributes, shown_by
from training.evaluation.paired import difference
from training.evaluation.turns.second import answered, exchanged, gathered, look

FAULTS = ("colour", "title", "value", "kind", "length")
CONDITIONS = ("right", "empty", "shuffled", "grey")


@dataclass(frozen=True)
class Broken:
    """A program with one fault. `chart` is what it says it draws, `place` the value that is off."""

    fault: str
    program: str
    chart: Chart
    place: int = -1


@dataclass(frozen=True)
class Repair:
    """What one answer did to the fault, and to the rest."""

    ran: bool
    mended: bool
    kept: bool
    copied: bool
    similarity: float


def broken(shown: Chart, fault: str, rng: random.Random) -> Broken:
    """The chart's true program with one fault. Of the five, `length` alone does not run: a place is missing."""
    if fault == "colour":
        chart = replace(shown, colour=rng.choice([c for c in COLOURS if c != shown.colour]))
    elif fault == "title":
        chart = replace(shown, title=rng.choice([t for t in TITLES if t != shown.title]))
    elif fault == "kind":
        chart = replace(shown, kind=rng.choice([k for k in KINDS if k != shown.kind]))
    elif fault == "value":
        place = rng.randrange(len(shown.values))
        old = shown.values[place]
        new = rng.choice([v for v in range(1, 10) if abs(v - old) >= 2])
        chart = replace(shown, values=(*shown.values[:place], new, *shown.values[place + 1 :]))
        return Broken(fault, chart.program, chart, place)
    else:
        places = ",".join(str(i + 1) for i in range(len(shown.values)))
        fewer = ",".join(str(i + 1) for i in range(len(shown.values) - 1))
        return Broken(fault, shown.program.replace(f"([{places}],", f"([{fewer}],"), shown)
    return Broken(fault, chart.program, chart)


def assess(shown: Chart, first: Broken, code: str | None, ran: bool, similarity: float) -> Repair:
    """Whether the fault is gone and whether everything else is still right."""
    copied = code is not None and code.strip() == first.program.strip()
    read = attributes(code) if code is not None and ran else None
    if read is None:
        return Repair(ran, False, False, copied, similarity)
    right = {name: getattr(read, name) == getattr(shown, name) for name in ("kind", "colour", "title")}
    right["length"] = len(read.values) == len(shown.values)
    values = [a == b for a, b in zip(shown.values, read.values, strict=False)]
    if first.fault == "value":
        right["value"] = len(values) > first.place and values.pop(first.place)
    mended = right.pop(first.fault)
    return Repair(ran, mended, all(right.values()) and all(values), copied, similarity)


def grey(picture: bytes) -> bytes:
    """A picture of the same size that shows nothing."""
    out = io.BytesIO()
    Image.new("RGB", Image.open(io.BytesIO(picture)).size, (128, 128, 128)).save(out, "PNG")
    return out.getvalue()


async def repairs(images: ImageSet, env: Environment, rules: Rules, seed: int, max_pixels: int) -> dict[str, Any]:
    """The study as plain data; `{"n": 0}` where the set does not say what its pictures show. Raises Outage."""
    charts = [shown_by(facts) for facts in images.facts]
    usable = [n for n, chart in enumerate(charts) if chart.kind in KINDS and len(chart.values) > 1]
    if len(usable) < 2:
        return {"n": 0}
    targets = [read_image(images.paths[n], max_pixels) for n in usable]
    firsts = [
        broken(charts[n], FAULTS[i % len(FAULTS)], random.Random(f"{seed}/{images.paths[n]}"))
        for i, n in enumerate(usable)
    ]
    seen = await gathered(
        [lambda f=f, t=t: look(f.program, t, env, rules) for f, t in zip(firsts, targets, strict=True)]  # type: ignore[misc]
    )
    right = [one.feedback for one in seen]
    texts = {"right": right, "empty": [""] * len(right), "shuffled": exchanged(right, seed), "grey": right}

    async def second(i: int, condition: str) -> Repair:
        view = grey(targets[i]) if condition == "grey" else targets[i]
        history = Dialogue.start(env.codec, view)
        history.add_text(f"<think>{firsts[i].chart.read_out}</think><tool_call>\n{firsts[i].program}</tool_call>")
        session = f"repair.{condition}.{i}"
        code = await answered(history, texts[condition][i], seen[i].shown, env, rules, session)
        found = await look(code, targets[i], env, rules) if code is not None else None
        ran, similarity = (found.ran, found.similarity) if found is not None else (False, 0.0)
        return assess(charts[usable[i]], firsts[i], code, ran, similarity)

    results = {c: await gathered([lambda i=i, c=c: second(i, c) for i in range(len(usable))]) for c in CONDITIONS}  # type: ignore[misc]
    return table(firsts, results)


def table(firsts: Sequence[Broken], found: dict[str, list[Repair]]) -> dict[str, Any]:
    """Shares by condition, of all faults and of each; the paired gain of the right feedback with its 95% interval."""

    def shares(rows: Sequence[Repair]) -> dict[str, float]:
        whole = {"mended_and_kept": fmean(r.mended and r.kept for r in rows)}
        names = ("mended", "kept", "ran", "copied", "similarity")
        return whole | {name: fmean(float(getattr(r, name)) for r in rows) for name in names}

    result: dict[str, Any] = {"n": len(firsts)} | {c: shares(rows) for c, rows in found.items()}
    for other in CONDITIONS[1:]:
        for name in ("mended", "kept"):
            pair = [[[float(getattr(r, name)) for r in found[c]]] for c in ("right", other)]
            result[f"right - {other}: {name}"] = [round(v, 4) for v in difference(*pair)]
    result["mended_by_fault"] = {
        fault: {
            c: fmean(r.mended for r, f in zip(rows, firsts, strict=True) if f.fault == fault)
            for c, rows in found.items()
        }
        for fault in dict.fromkeys(f.fault for f in firsts)
    }
    return result
