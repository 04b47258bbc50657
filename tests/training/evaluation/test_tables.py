"""A measured row beside the published ones."""

from typing import Any

from training.evaluation import tables
from training.evaluation.published import TABLES
from training.evaluation.scoreboard import summary


def rows(count: int) -> list[dict[str, Any]]:
    scores = [
        {"exec": 1.0, "text": n % 2, "layout": 1.0, "type": 0.5, "color": 0.25, "judge": 0.5} for n in range(count)
    ]
    return [{"name": str(n), "void": "", "scores": s, "partial": s} for n, s in enumerate(scores)]


def test_every_published_row_has_every_column() -> None:
    for table in TABLES.values():
        assert all(len(values) == len(table.columns) for _, values in table.paper)
    mimic = dict(TABLES["chartmimic"].paper)["RRVF"]
    low = sum(mimic[1:5]) / 4
    assert abs((low + mimic[5]) / 2 - mimic[6]) < 0.01  # Overall, as the paper computes it


def test_a_row_has_its_interval_and_says_what_it_was_computed_with() -> None:
    measured = rows(40)
    ends = tables.intervals("chartmimic", measured, summary)
    assert ends["exec"] == (100.0, 100.0) and 30 < ends["text"][0] < 50 < ends["text"][1] < 70
    cells = summary("chartmimic", measured)["code_pass"]
    facts = {"judge": "http://x/v1", "judge_model": "gpt-4o", "questions": "/clone", "official": True}
    notes = tables.computed_with("chartmimic", facts)
    text = tables.markdown("chartmimic", "my_model", tables.comparable(cells, facts), ends, notes)
    assert "| **my_model** (here) | 100.00 [100.00, 100.00] | 50.00 [" in text and "| RRVF | 97.83 |" in text
    assert "faults included" in text and "gpt-4o; the published question, read from /clone" in text
    source = tables.latex("chartmimic", "my_model", cells, ends, notes)
    assert r"my\_model (here) & 100.00 & 50.00" in source
    assert r"\quad 95\% from & 100.00 & " in source and r"\quad to & 100.00 & " in source
    assert source.count(r"\\") == len(TABLES["chartmimic"].paper) + 4


def test_marks_of_our_own_question_are_not_set_beside_published_ones() -> None:
    cells, facts = summary("chartmimic", rows(4))["code_pass"], {"judge": "perceptual"}
    assert cells["judge"] == 50.0
    text = tables.markdown(
        "chartmimic", "m", tables.comparable(cells, facts), {}, tables.computed_with("chartmimic", facts)
    )
    assert text.splitlines()[-6].endswith("| 25.00 | - | - |") or "| 25.00 | - | - |" in text
    assert "our own question" in text


def test_any_name_is_text_in_latex() -> None:
    source = tables.latex("design2code", r"a{b_\c~^%", {}, {}, [])
    assert r"a\{b\_\textbackslash{}c\textasciitilde{}\textasciicircum{}\% (here)" in source
