"""What benches of two ways print: seconds of both, and their ratios pair by pair."""

import json
from collections.abc import Sequence
from statistics import median
from typing import Any


def ratios(both: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """`both`: (ours, published) seconds of each pair, both done in turn on one machine. Prints what it returns."""
    each = [theirs / ours for ours, theirs in both]
    result = {
        "pairs": len(both),
        "ours_pair_s": round(median(ours for ours, _ in both), 3),
        "published_pair_s": round(median(theirs for _, theirs in both), 3),
        "ratio_median": round(median(each), 2),
        "ratio_least": round(min(each), 2),
        "ratio_of_sums": round(sum(t for _, t in both) / sum(o for o, _ in both), 2),
    }
    print(json.dumps(result))
    return result
