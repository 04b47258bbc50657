"""The shipped pictures: sets that share nothing with each other or with what the base policies were taught."""

import json
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from training.data import foreign_charts, foreign_pages, synthetic_charts, synthetic_pages
from training.data.labels import CHARTS, PAGES, Labels
from training.data.shipped import unpack


@pytest.mark.parametrize(
    ("labels", "drawn", "generator"),
    [(CHARTS, foreign_charts, synthetic_charts), (PAGES, foreign_pages, synthetic_pages)],
)
def test_the_file_holds_every_set_as_it_is_described(
    tmp_path: Path,
    labels: Labels,
    drawn: ModuleType,
    generator: ModuleType,
) -> None:
    folder = unpack(labels.file, tmp_path)
    assert unpack(labels.file, tmp_path) == folder
    programs: dict[str, list[str]] = {}
    for name, (count, split) in drawn.SETS.items():
        rows = [json.loads(line) for line in (folder / name / "manifest.jsonl").read_text().splitlines()]
        assert len(rows) == count
        for index, row in enumerate(rows):
            shown = labels.shown_by(row)
            assert shown == drawn.facts(name, index), "the file is older than the script that draws it"
            assert name == "gallery" or generator.is_held_out(shown) == (split == "heldout")
            programs.setdefault(split, []).append(shown.program)
        size = synthetic_charts.SIZE if generator is synthetic_charts else synthetic_pages.WINDOW
        assert Image.open(folder / name / rows[-1]["file"]).size == size
    assert not set(programs["train"]) & set(programs["heldout"])
    assert set(labels.held_out) < set(drawn.SETS)


def test_a_page_is_drawn_as_it_was() -> None:
    """The file is what its script draws, on a machine with the same drawing library."""
    first = foreign_pages.picture("heldout", 3)
    assert first == foreign_pages.picture("heldout", 3) != foreign_pages.picture("heldout", 4)
