"""What the perceptual judge puts above what: the same chart in other margins, sizes and typefaces, single faults,
charts of another renderer, real charts as they are kept, real pages, and the time of a comparison.

    python -m tests.bench judge_order
"""

import io
import time
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from serving.judge.perceptual import compare
from tests.data import real
from tests.serving.judge import chart_looks, chart_vega, web_blocks, web_edits

COUNTS = {"168x140": 24, "640x480": 8}
VEGA_COUNTS = {"168x140": 24, "640x480": 8}
KEPT, PAGES = 12, 30


def png(picture: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG")
    return out.getvalue()


def looks(size: str, count: int) -> dict:
    """Own charts: scores of cosmetic versions and faults against their base, and what stands above what."""
    scores: dict[str, list[float]] = defaultdict(list)
    above_each, above_all, order = [], [], []
    wrong: dict[str, int] = defaultdict(int)
    others, seen = [], []
    for index in range(count):
        made = chart_looks.versions(index, size)
        base = made["base"]
        got = {name: compare(base, picture).score for name, picture in made.items() if name != "base"}
        for name, score in got.items():
            scores[name].append(score)
        faults = [got[name] for name in chart_looks.FAULTS]
        for name in chart_looks.COSMETIC:
            above_all.append(got[name] > max(faults))
            above_each += [got[name] > fault for fault in faults]
            if not above_all[-1]:
                wrong[f"{name} <= {max(chart_looks.FAULTS, key=lambda f: got[f])}"] += 1
        pairs = list(combinations(chart_looks.FAULTS, 2))
        order += [got[worse] < got[better] for worse, better in pairs]
        for worse, better in pairs:
            if got[worse] >= got[better]:
                wrong[f"{worse} >= {better}"] += 1
        others += [compare(base, other).score for other in seen[-3:]]
        seen.append(base)
    cosmetic = [s for name in chart_looks.COSMETIC for s in scores[name]]
    return {
        "cosmetic_at_least_0.9": float(np.mean(np.array(cosmetic) >= 0.9)),
        "cosmetic_median": float(np.median(cosmetic)),
        "cosmetic_above_a_fault": float(np.mean(above_each)),
        "cosmetic_above_all_faults": float(np.mean(above_all)),
        "faults_in_order": float(np.mean(order)),
        "others_below_0.3": float(np.mean(np.array(others) < 0.3)),
        "mean": {name: float(np.mean(values)) for name, values in scores.items()},
        "least": {name: float(np.min(values)) for name, values in scores.items()},
        "wrong": dict(sorted(wrong.items(), key=lambda item: -item[1])[:12]),
    }


def vega(size: str, count: int) -> dict:
    """Targets by Vega-Lite: how often the true program stands above each fault."""
    above: dict[str, list[bool]] = defaultdict(list)
    scores: dict[str, list[float]] = defaultdict(list)
    index, n = 0, 0
    while n < count:
        made = chart_vega.versions(index, size)
        index += 1
        if made is None:
            continue
        n += 1
        got = {name: compare(made["base"], picture).score for name, picture in made.items() if name != "base"}
        for name, score in got.items():
            scores[name].append(score)
            if name != "true":
                above[name].append(got["true"] > score)
    return {
        "true_above": {name: float(np.mean(found)) for name, found in above.items()},
        "mean": {name: float(np.mean(values)) for name, values in scores.items()},
    }


def kept_versions(picture: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The same picture cut tight, padded and enlarged; and recoloured or half erased."""
    paper = picture[0, 0]
    apart = np.abs(picture.astype(np.int16) - paper).max(axis=2) > 16
    rows, columns = np.flatnonzero(apart.any(axis=1)), np.flatnonzero(apart.any(axis=0))
    h, w = picture.shape[:2]
    y0, y1 = max(0, rows[0] - 8), min(h, rows[-1] + 9)
    x0, x1 = max(0, columns[0] - 8), min(w, columns[-1] + 9)
    padded = np.empty((h + h // 5, w + w // 4, 3), np.uint8)
    padded[:] = paper
    padded[h // 10 : h // 10 + h, w // 8 : w // 8 + w] = picture
    larger = cv2.resize(picture, (w * 3 // 2, h * 3 // 2), interpolation=cv2.INTER_CUBIC)
    erased = picture.copy()
    erased[:, w // 2 :] = paper
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
    hsv[:, :, 0] = (hsv[:, :, 0].astype(np.int16) + 60) % 180
    recoloured = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    same = {"tight": picture[y0:y1, x0:x1], "padded": padded, "enlarged": larger}
    return same, {"recoloured": recoloured, "half erased": erased}


def kept() -> dict:
    """Twelve real charts: whether every copy of the same picture stands above every damaged one."""
    names = sorted(path.stem for path in real("charts").glob("*.png"))
    ordered, scores = [], defaultdict(list)
    for name in names[:: len(names) // KEPT][:KEPT]:
        picture = np.asarray(Image.open(real("charts") / f"{name}.png").convert("RGB"))
        same, damaged = kept_versions(picture)
        target = png(picture)
        got = {version: compare(target, png(other)).score for version, other in {**same, **damaged}.items()}
        colourless = np.ptp(picture.astype(np.int16), axis=2).max() < 24  # nothing to recolour
        worst = max(got[v] for v in damaged if not (colourless and v == "recoloured"))
        ordered.append(min(got[v] for v in same) > worst)
        for version, score in got.items():
            scores[version].append(score)
    return {"ordered": f"{sum(ordered)} of {len(ordered)}", "mean": {v: float(np.mean(s)) for v, s in scores.items()}}


def pages() -> dict:
    """Real pages: the same page at other widths and in another typeface, and with one block at fault."""
    scores: dict[str, list[float]] = defaultdict(list)
    above_each, above_all, order, seconds = [], [], [], 0.0
    for name in web_edits.names()[:PAGES]:
        made = web_blocks.versions(name)
        if made is None:
            continue
        started = time.process_time()
        got = {v: compare(made["base"], picture, "web").score for v, picture in made.items() if v != "base"}
        seconds += time.process_time() - started
        for version, score in got.items():
            scores[version].append(score)
        for version in web_blocks.COSMETIC:
            above_each += [got[version] > got[fault] for fault in web_blocks.FAULTS]
            above_all.append(got[version] > max(got[fault] for fault in web_blocks.FAULTS))
        order += [got[worse] < got[better] for worse, better in combinations(web_blocks.FAULTS, 2)]
    cosmetic = np.array([s for version in web_blocks.COSMETIC for s in scores[version]])
    return {
        "pages": len(scores["serif"]),
        "cosmetic_at_least_0.9": float(np.mean(cosmetic >= 0.9)),
        "cosmetic_median": float(np.median(cosmetic)),
        "cosmetic_above_a_fault": float(np.mean(above_each)),
        "cosmetic_above_all_faults": float(np.mean(above_all)),
        "faults_in_order": float(np.mean(order)),
        "mean": {version: float(np.mean(values)) for version, values in scores.items()},
        "milliseconds": 1000 * seconds / sum(map(len, scores.values())),
    }


def milliseconds(size: str) -> float:
    """Processor time of one comparison of two fresh renders with a known target."""
    made = [chart_looks.versions(index, size) for index in range(8)]
    pairs = [(m["base"], m[v]) for m in made for v in ("margins", "colours", "value by 1", "serif")]
    for pair in pairs[:4]:
        compare(*pair)
    started = time.process_time()
    for pair in pairs:
        compare(*pair)
    return 1000 * (time.process_time() - started) / len(pairs)


def main(out_dir: Path) -> dict:
    """One table for each size and source."""
    cv2.setNumThreads(1)
    found: dict = {f"own {size}": looks(size, count) for size, count in COUNTS.items()}
    found |= {f"vega {size}": vega(size, count) for size, count in VEGA_COUNTS.items()}
    found["kept"] = kept()
    found["pages"] = pages()
    found["milliseconds"] = {size: milliseconds(size) for size in COUNTS}
    for name, table in found.items():
        print(name)
        for key, value in table.items():
            if isinstance(value, dict):
                value = ", ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in value.items())
            print(f"  {key}: {value:.3f}" if isinstance(value, float) else f"  {key}: {value}")
    return found
