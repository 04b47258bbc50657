"""Labelled charts: splits that cannot meet, looks that change the picture alone, programs read as they were written."""

import pytest

from training.data.chart_looks import drawing
from training.data.synthetic_charts import CALLS, KINDS, Chart, attributes, chart, draw


def test_no_program_is_in_both_splits_and_an_index_gives_the_same_chart() -> None:
    train = {draw(i, 0, "train").program for i in range(400)}
    held = {chart(kind, "mild", i, 0, "heldout").program for kind in KINDS for i in range(200)}
    assert not train & held
    assert draw(7, 0, "train") == draw(7, 0, "train") != draw(7, 1, "train")


@pytest.mark.parametrize("kind", CALLS)
def test_a_program_says_what_it_shows(kind: str) -> None:
    shown = chart(kind, "plain", 3, 0, "train")
    assert attributes(shown.program) == shown
    assert attributes(drawing(shown, "framed", 3, 0)) == shown  # a look changes the picture alone


def test_what_is_no_chart_is_none_and_what_is_missing_is_wrong() -> None:
    assert attributes("plt.bar([1,2") is None and attributes("print(1)") is None
    assert attributes("plt.bar(x, [1, 2])\nplt.title('A')") == Chart("bar", "A", "", (1, 2))
