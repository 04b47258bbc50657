"""Image sets to learn from: a folder of the user's, the shipped charts of another renderer, or a domain's examples.

Guarantees: every path that leaves here is an image that can be read; a missing folder, an empty one and each corrupt
file are reported in one line each, and a corrupt file is left out rather than met in the middle of a run.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from actors.images import SUFFIXES, normalise
from configs.domains import DEFAULT
from configs.load import ConfigError
from configs.schema import Config
from training.data import examples
from training.data.labels import labels_of
from training.data.shipped import unpack

LAYOUT = "data.images is a folder of pictures (sub-folders are searched): " + ", ".join(SUFFIXES)


@dataclass(frozen=True)
class ImageSet:
    """Paths of pictures; `facts` (drawn sets only) say what each shows, for evaluation, never for the reward."""

    name: str
    paths: tuple[str, ...]
    facts: tuple[dict[str, Any], ...] = ()
    rejected: tuple[str, ...] = ()  # one line for each file left out
    domain: str = DEFAULT  # of the facts

    def head(self, count: int) -> "ImageSet":
        return replace(self, paths=self.paths[:count], facts=self.facts[:count])


def folder(path: str | Path, max_pixels: int) -> ImageSet:
    """All readable images under `path`, sorted. Raises ConfigError where there is none."""
    root = Path(path)
    if not root.is_dir():
        raise ConfigError(f"data.images={path}: no such folder; {LAYOUT}")
    found = sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    good: list[str] = []
    bad: list[str] = []
    for file in found:
        try:
            normalise(file.read_bytes(), max_pixels)
            good.append(str(file.resolve()))
        except ValueError as error:
            bad.append(f"{file}: {error}; left out")
    if not good:
        detail = f"; {bad[0]}" if bad else ""
        raise ConfigError(f"data.images={path}: no readable image among {len(found)} files{detail}; {LAYOUT}")
    return ImageSet(root.name, tuple(good), (), tuple(bad))


def drawn(root: Path, name: str, domain: str = DEFAULT) -> ImageSet:
    """A folder of PNGs and a manifest.jsonl with one line each: its file and what it shows."""
    rows = [json.loads(line) for line in (root / "manifest.jsonl").read_text().splitlines()]
    return ImageSet(name, tuple(str((root / row["file"]).resolve()) for row in rows), tuple(rows), domain=domain)


def training_and_evaluation(config: Config, cache: Path) -> tuple[ImageSet, list[ImageSet]]:
    """The set to learn from, and the held-out sets. `drawn`: the shipped pictures of another renderer (`heldout`) and a
    set unlike those that training meets (charts: `third`, by a third renderer; pages: `gallery`, of another form); of a
    domain without shipped pictures its own examples. A folder is split: its last tenth (at most `evaluate.count`, at
    least one image) is held out and never trained on."""
    if config.data.images != "drawn":
        every = folder(config.data.images, config.data.max_pixels)
        held = min(config.evaluate.count, max(1, len(every.paths) // 10)) if len(every.paths) > 1 else 0
        train = every.paths[: len(every.paths) - held]
        sets = [ImageSet("heldout", every.paths[-held:])] if held else []
        return ImageSet("train", train, (), every.rejected), sets
    domain = config.data.domain
    if (labels := labels_of(domain)) is None:
        return _own(config, cache, "train", config.data.count), [_own(config, cache, "heldout", config.evaluate.count)]
    root = unpack(labels.file, cache)
    known = drawn(root / "train", "train", domain).head(config.data.count)
    return known, [drawn(root / name, name, domain).head(config.evaluate.count) for name in labels.held_out]


def _own(config: Config, cache: Path, split: examples.Split, count: int) -> ImageSet:
    drawn_at = examples.write(cache, config.data.domain, split, count, config.run.seed, restyled=True)
    return replace(folder(drawn_at, config.data.max_pixels), name=split)
