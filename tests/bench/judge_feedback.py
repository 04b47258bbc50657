"""Whether the perceptual judge's feedback is true: single faults put into own charts, and the same in other looks.

A fault is named when a sentence of its category is said (of one value of a bar: of the right bar); a direction is right
when that bar should go the way it should, a size when it is within a third; a word on a chart whose content is the same
is false when it speaks of kind, values, colours or text.

    python -m tests.bench judge_feedback
"""

import re
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np

from actors.contracts import Verdict
from serving.judge.perceptual import compare
from tests.serving.judge import chart_looks

COUNTS = {"168x140": 24, "640x480": 8}
CATEGORY = {
    "kind": "type",
    "data": "data",
    "colours": "colour",
    "value by 4": "data",
    "value by 1": "data",
    "typo": "text",
}
FALSE = ("type", "data", "colour")
BAR = re.compile(r"Bar (\d+) of \d+(?: from the top)? should be about (\d+)% (taller|longer|shorter)")


def bar(base: chart_looks.Chart, fault: str, verdict: Verdict) -> tuple[bool, bool, bool] | None:
    """Whether the bar that is off is named, its direction right and its size within a third; None for other charts."""
    if base.kind not in ("bar", "barh"):
        return None
    changed = chart_looks.FAULTS[fault](base).values[0]
    place = next(n for n, (a, b) in enumerate(zip(base.values[0], changed, strict=True)) if a != b)
    want = base.values[0][place] / changed[place] - 1
    number = place + 1 if base.kind == "bar" else len(changed) - place
    for said, percent, way in BAR.findall(verdict.feedback):
        if int(said) == number:
            much = int(percent) / 100 * (-1 if way == "shorter" else 1)
            return True, much * want > 0, abs(much - want) <= max(abs(want) / 3, 0.05)
    return False, False, False


def measure(size: str, count: int) -> dict:
    """Shares over the charts of one size."""
    named: dict[str, list[bool]] = defaultdict(list)
    false: list[bool] = []
    bars: list[tuple[bool, bool, bool]] = []
    for index in range(count):
        made, base = chart_looks.versions(index, size), chart_looks.chart(index, size)
        for fault, category in CATEGORY.items():
            verdict = compare(made["base"], made[fault])
            said = [d for d in verdict.differences if d.what in verdict.feedback]
            named[fault].append(any(d.category == category for d in said))
            if fault.startswith("value") and (found := bar(base, fault, verdict)) is not None:
                bars.append(found)
        for look in chart_looks.COSMETIC:
            said = compare(made["base"], made[look]).differences
            words = [d for d in said if d.category in FALSE or (d.category == "text" and "text " not in d.what)]
            false.append(bool(words))
    shares = np.mean(np.array(bars, float).reshape(-1, 3), axis=0)
    return {
        "named": {fault: float(np.mean(found)) for fault, found in named.items()},
        "bars": dict(zip(("named", "direction", "size"), map(float, shares), strict=True)),
        "nothing_false_on_equal_content": 1 - float(np.mean(false)),
    }


def main(out_dir: Path) -> dict:
    """One table a size."""
    cv2.setNumThreads(1)
    found = {size: measure(size, count) for size, count in COUNTS.items()}
    for size, table in found.items():
        print(size, table)
    return found
