"""What one answer comes to: attributes of charts and of pages, against the target's facts and another's."""

from types import SimpleNamespace
from typing import Any

import pytest

from actors.contracts import RenderResult
from training.data.labels import CHARTS, PAGES, Labels, labels_of
from training.data.synthetic_charts import chart
from training.data.synthetic_pages import page
from training.evaluation.heldout import row_of


def played(code: str | None, ok: bool = True) -> Any:
    turn = SimpleNamespace(text="", code=code, render=RenderResult(ok, 0.0, png=b"x" if ok else None))
    return SimpleNamespace(turns=[turn], similarity=0.5, sampled=[True])


@pytest.mark.parametrize(
    ("labels", "shown", "other"),
    [
        (CHARTS, chart("bar", "", 0, 0, "train"), chart("plot", "", 1, 0, "train")),
        (PAGES, page(5, 0, 0, "train"), page(5, 1, 0, "train")),
    ],
)
def test_an_answer_is_read_against_its_target_and_against_another(labels: Labels, shown: Any, other: Any) -> None:
    facts = [shown.facts, other.facts]
    row = row_of("a.png", played(shown.program), facts, labels)
    assert row.read == dict.fromkeys(labels.names, 1.0)
    assert set(row.chance) == set(labels.names) and sum(row.chance.values()) < len(labels.names) - 1
    failed = row_of("a.png", played(shown.program, ok=False), facts, labels)
    assert not failed.executed and failed.read == dict.fromkeys(labels.names, 0.0)


def test_without_facts_nothing_is_read() -> None:
    row = row_of("a.png", played("x"), [], None)
    assert row.read == row.chance == {}


def test_a_domain_without_shipped_pictures_has_no_labels() -> None:
    assert labels_of("chart") is CHARTS and labels_of("web") is PAGES and labels_of("svg") is None
