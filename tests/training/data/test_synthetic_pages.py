"""Labelled pages: splits that cannot meet, looks that change the picture alone, HTML read as it was written."""

from dataclasses import replace

import pytest

from training.data.page_looks import drawing
from training.data.synthetic_pages import (
    ATTRIBUTES,
    KINDS,
    ROWS,
    Block,
    Page,
    attributes,
    gallery,
    hits,
    page,
    shown_by,
)

PAGE = Page(
    (
        Block("header", ("News",), "teal", tall=True),
        Block("nav", ("Home", "Shop")),
        Block("form", ("Email", "Join"), "red"),
        Block("list", ("Tea", "Milk", "Rice")),
    )
)


def test_no_page_is_in_both_splits_and_an_index_gives_the_same_page() -> None:
    train, held = ({page(5, i, 0, split).program for i in range(300)} for split in ("train", "heldout"))
    assert not train & held
    assert page(5, 7, 0, "train") == page(5, 7, 0, "train") != page(5, 7, 1, "train")
    assert max(page(5, i, 0, "train").rows for i in range(300)) == ROWS


def test_a_page_says_what_it_shows() -> None:
    seen = set()
    for i in range(200):
        shown = page(5, i, 0, "train")
        seen |= {block.kind for block in shown.blocks}
        assert attributes(shown.program) == shown
        assert attributes(drawing(shown, str(i))) == shown  # a look changes the picture alone
        assert shown_by(shown.facts) == shown
    assert seen == set(KINDS)


def test_a_gallery_has_a_kind_of_block_twice_and_a_page_has_none() -> None:
    for i in range(100):
        kinds = [block.kind for block in gallery(i, 0).blocks]
        assert len(set(kinds)) < len(kinds) and gallery(i, 0).rows <= ROWS
        kinds = [block.kind for block in page(5, i, 0, "train").blocks]
        assert len(set(kinds)) == len(kinds)


def test_what_is_missing_or_misplaced_is_wrong() -> None:
    assert attributes("just words") is None and attributes("<p>x</p>") is None
    assert hits(PAGE, None) == dict.fromkeys(ATTRIBUTES, 0.0)
    assert hits(PAGE, PAGE) == dict.fromkeys(ATTRIBUTES, 1.0)
    short = replace(PAGE, blocks=PAGE.blocks[:3])
    assert hits(PAGE, short) | {"word": 0, "items": 0} == {
        "blocks": 0, "kind": 0.75, "size": 1, "colour": 1, "items": 0, "word": 0, "all words": 0, "all": 0,
    }  # fmt: skip
    swapped = replace(PAGE, blocks=(PAGE.blocks[0], PAGE.blocks[2], PAGE.blocks[1], PAGE.blocks[3]))
    assert hits(PAGE, swapped)["kind"] == 0.5 and hits(PAGE, swapped)["word"] == 0.5


@pytest.mark.parametrize(
    ("part", "other", "lost"),
    [
        ({"colour": "red"}, 0, "colour"),
        ({"tall": False}, 0, "size"),
        ({"words": ("Home", "Blog")}, 1, "word"),
        ({"words": ("Home", "Shop", "Blog")}, 1, "items"),
    ],
)
def test_each_attribute_is_lost_alone(part: dict[str, object], other: int, lost: str) -> None:
    blocks = list(PAGE.blocks)
    blocks[other] = replace(blocks[other], **part)  # type: ignore[arg-type]
    found = hits(PAGE, Page(tuple(blocks)))
    assert {name for name, value in found.items() if value < 1} - {"all", "all words"} == {lost}


def test_foreign_html_is_read_as_far_as_it_is_known() -> None:
    found = attributes("<body><HEADER style='color:red;--c: blue ;'>Some <b>bold</b> words</header><p>x<ul><li>a<li>b")
    assert found == Page((Block("header", ("Some", "bold", "words"), "blue"), Block("list", ("a", "b"))))
