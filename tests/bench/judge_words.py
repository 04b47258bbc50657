"""Whether the perceptual judge's feedback is true: one to three faults at a time, of twelve kinds on charts.

A fault is named when a sentence of its kind is among those that the policy reads; of a bar's value, when it is about
that bar. A direction is right when the bar should go the way it should, a size when it is within a third. A sentence
that speaks of what is equal is false. Targets are own charts, the same drawn by Vega-Lite, and real pages with the
edits of the ranking tests.

    python -m tests.bench judge_words
"""

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from actors.contracts import Verdict
from serving.judge.perceptual import compare
from tests.serving.judge import chart_looks, chart_vega, web_edits
from tests.serving.judge.chart_looks import Chart
from tests.serving.judge.similarity_cases import says

SIZE, CHARTS, PAGES, SETS = "224x168", 24, 6, 4
BAR = re.compile(r"Bar (\d+) of \d+(?: from the top)? should be about (\d+)% (taller|longer|shorter)")
DOWN = {"shorter"}


def _one(c: Chart, by: int) -> Chart:
    """The value with most room moved by `by`."""
    row = list(c.values[0])
    place = int(np.argmin(row) if by > 0 else np.argmax(row))
    row[place] = int(np.clip(row[place] + by, 1, 9))
    return replace(c, values=(tuple(row), *c.values[1:]))


def _unlabelled(c: Chart) -> Chart:
    return c if c.kind == "pie" else replace(c, label="")  # a pie shows no label


def _scaled(c: Chart) -> Chart:
    if c.kind == "pie":
        return c  # shares stay as they are
    return replace(c, values=tuple(tuple(2 * v for v in row) for row in c.values))


def _shorter(c: Chart) -> Chart:
    return replace(c, values=tuple(row[:-1] for row in c.values), colours=c.colours[: max(1, len(c.colours) - 1)])


def _titled(c: Chart) -> Chart:
    return replace(c, title=next(t for t in chart_looks.TITLES if t[:2] != c.title[:2]))


# What a fault touches (no two of one thing at a time), how it is made, and the sentences that name it.
FAULTS: dict[str, tuple[str, Callable[[Chart], Chart], str]] = {
    "kind": ("marks", chart_looks.FAULTS["kind"], r"^Draw .*, not "),
    "count": ("marks", _shorter, r"^Draw \d+ .* (more|fewer)\.|^The (line|area|points) should run from x = "),
    "data": ("marks", chart_looks.FAULTS["data"], r"should be .*(higher|lower|taller|longer|shorter|larger|smaller)"),
    "scaled": ("marks", _scaled, r"^All values should be|axis should"),
    "value up": ("marks", lambda c: _one(c, 4), r"should be .*(lower|shorter|smaller|larger)"),
    "value down": ("marks", lambda c: _one(c, -4), r"should be .*(higher|taller|longer|larger|smaller)"),
    "colours": ("colours", chart_looks.FAULTS["colours"], r"#[0-9a-f]{6}|^Some .* is missing"),
    "title gone": ("title", lambda c: replace(c, title=""), r"^The title is missing"),
    "title other": ("title", _titled, r"^The title differs"),
    "typo": ("title", chart_looks.FAULTS["typo"], r"^The title differs"),
    "label gone": ("label", _unlabelled, r"^The x label is missing"),
    "wider": ("size", lambda c: replace(c, size=(c.size[0] * 1.4, *c.size[1:])), r"^Make the picture narrower"),
}
TOUCHED = {"type": "marks", "data": "marks", "colour": "colours", "background": "paper", "size": "size"}


@dataclass
class Tally:
    """The words about injected faults, and about what is equal."""

    named: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))
    bars: list[tuple[bool, bool]] = field(default_factory=list)  # direction and size, of bars that are named
    false: list[bool] = field(default_factory=list)  # one a comparison: there are words about what is equal
    cosmetic: list[bool] = field(default_factory=list)  # the same where all content is equal

    def figures(self) -> dict:
        every = [one for found in self.named.values() for one in found]
        direction, size = np.mean(np.array(self.bars, float).reshape(-1, 2), axis=0) if self.bars else (None, None)
        return {
            "named": float(np.mean(every)),
            "direction": direction and float(direction),
            "size_within_a_third": size and float(size),
            "nothing_of_what_is_equal": 1 - float(np.mean(self.false)),
            "nothing_false_on_equal_content": 1 - float(np.mean(self.cosmetic)) if self.cosmetic else None,
            "by_fault": {name: float(np.mean(found)) for name, found in self.named.items()},
        }


def faulty(c: Chart, index: int) -> Iterator[tuple[list[str], Chart]]:
    """SETS charts with one to three faults of different things each, all kinds in turn."""
    rng = random.Random(f"words/{index}")
    for n in range(SETS):
        shown, names, touched = c, list[str](), set[str]()
        first = list(FAULTS)[(index * SETS + n) % len(FAULTS)]
        for name in [first, *rng.sample(list(FAULTS), len(FAULTS))]:
            thing, change, _ = FAULTS[name]
            if len(names) == n % 3 + 1 or thing in touched or (new := change(shown)) == shown:
                continue
            shown = new
            names.append(name)
            touched.add(thing)
        yield names, shown


def count(tally: Tally, base: Chart, names: list[str], shown: Chart, verdict: Verdict) -> None:
    """Count what a verdict says of a chart with faults."""
    sentences = [d for d in verdict.differences if d.what in verdict.feedback]
    touched = {FAULTS[name][0] for name in names}
    for name in names:
        tally.named[name].append(any(re.search(FAULTS[name][2], d.what) for d in sentences))
    for d in sentences:
        thing = "title" if "title" in d.what else "label" if "label" in d.what else TOUCHED.get(d.category, "")
        if thing and thing not in touched:
            tally.false.append(True)
            break
    else:
        tally.false.append(False)
    if base.kind in ("bar", "barh") and len(base.values[0]) == len(shown.values[0]) and shown.kind == base.kind:
        for number, percent, way in BAR.findall(verdict.feedback):
            place = int(number) - 1 if base.kind == "bar" else len(base.values[0]) - int(number)
            if 0 <= place < len(base.values[0]):
                want = base.values[0][place] / shown.values[0][place] - 1
                much = int(percent) / 100 * (-1 if way in DOWN else 1)
                tally.bars.append((much * want > 0, abs(much - want) <= max(abs(want) / 3, 0.05)))


def charts(foreign: bool) -> dict:
    """Own charts, or Vega-Lite's as targets of them."""
    tally = Tally()
    for index in range(CHARTS):
        base = chart_looks.chart(index, SIZE)
        if foreign:
            import vl_convert

            if base.kind not in chart_vega.MARKS:
                continue
            target = vl_convert.vegalite_to_png(chart_vega.spec(base, index % 2 == 0, True))
        else:
            target = chart_looks.draw(base)
        for names, shown in faulty(base, index):
            count(tally, base, names, shown, compare(target, chart_looks.draw(shown)))
        for look in ("margins", "tight layout", "dpi 150", "serif") if not foreign else ("serif",):
            verdict = compare(target, chart_looks.draw(chart_looks.COSMETIC[look](base)))
            sentences = [d for d in verdict.differences if d.what in verdict.feedback]
            tally.cosmetic.append(
                any(
                    d.category in ("type", "data", "colour") or "title" in d.what or "x label" in d.what
                    for d in sentences
                )
            )
    return tally.figures()


def pages() -> dict:
    """Real pages with one or two edits."""
    tally = Tally()
    for name in web_edits.names()[2::8][:PAGES]:
        made = web_edits.versions(name)
        for version, picture in made.items():
            edits = version.split("+")
            if not set(edits) <= set(web_edits.SINGLE):
                continue
            verdict = compare(made["base"], picture, "web")
            for edit in edits:
                tally.named[edit].append(says(edit, verdict))
            tally.false.append("background" not in edits and "background" in verdict.feedback)
    return tally.figures()


def main(out_dir: Path) -> dict:
    """The five figures for each source of targets."""
    cv2.setNumThreads(1)
    found = {}
    for name, measure in (("own", lambda: charts(False)), ("vega", lambda: charts(True)), ("pages", pages)):
        try:
            found[name] = measure()
        except pytest.skip.Exception as missing:
            found[name] = {"left out": str(missing)}
        print(name, found[name], flush=True)
    return found
