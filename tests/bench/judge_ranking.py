"""The perceptual judge on every chart and page and all their perturbed versions, and on all pairs of different ones.

Order, naming, fixed points and fooling, by the code that the ranking tests run on a sample.
"""

from pathlib import Path

import numpy as np

from tests.serving import pictures, web_edits
from tests.serving.likeness import Found, measure, table


def summary(found: Found) -> dict:
    return {
        "nested_pairs": len(found.ordered),
        "in_order": float(np.mean(found.ordered)),
        "named": {kind: float(np.mean(said)) for kind, said in found.named.items()},
        "median": {version: float(np.median(scores)) for version, scores in found.scores.items()},
        "least_3px": min(found.scores["3px"]),
        "most_blank": max(found.scores["blank"]),
        "another_pairs": len(found.scores["another"]),
        "most_another": max(found.scores["another"]),
        "another_below_0.35": float(np.mean(np.array(found.scores["another"]) < 0.35)),
        "fooled": found.fooled,
    }


def main(out_dir: Path) -> dict:
    """One summary for each domain; pictures are made once and kept."""
    charts = measure(pictures.all_versions(pictures.names()), pictures.SINGLE, "chart", others=59)
    print(f"charts\n{table(charts)}")
    pages = measure(web_edits.all_versions(web_edits.names()), web_edits.SINGLE, "web", others=29)
    print(f"pages\n{table(pages)}")
    return {"charts": summary(charts), "pages": summary(pages)}
