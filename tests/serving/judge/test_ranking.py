"""Milder is better, named and not fooled: the perceptual judge on real charts and pages and perturbed versions of them.

A sample of the set runs here; `make bench ARGS=judge` measures all of it by the same code.
"""

import numpy as np
import pytest

from serving.judge.perceptual import compare
from tests.serving.judge import pictures, web_edits
from tests.serving.judge.similarity_cases import HOLLOW, Found, measure, table

CHART_SAMPLE = slice(4, None, 8)
WEB_SAMPLE = slice(2, None, 8)
LOOKALIKES = (  # the pairs of different charts that are most alike: one default style, axes on the same spot
    ("axes_grid1__simple_axisline4", "subplots_axes_and_figures__ganged_plots"),
    ("lines_bars_and_markers__xcorr_acorr_demo", "subplots_axes_and_figures__share_axis_lims_views"),
    ("mplot3d__surface3d_2", "mplot3d__voxels_rgb"),
    ("lines_bars_and_markers__xcorr_acorr_demo", "statistics__errorbar_features"),
)
PANELS_AND_ICONS = ("1438", "12121")  # most of the text on dark panels; one small icon in a page of gray text


@pytest.fixture(scope="module")
def charts() -> Found:
    return measure(pictures.all_versions(pictures.names()[CHART_SAMPLE]).items(), pictures.SINGLE, "chart")


@pytest.fixture(scope="module")
def pages() -> Found:
    return measure(web_edits.all_versions(web_edits.names()[WEB_SAMPLE]).items(), web_edits.SINGLE, "web")


@pytest.fixture(params=["charts", "pages"])
def found(request: pytest.FixtureRequest) -> Found:
    return request.getfixturevalue(request.param)


def test_of_nested_pairs_the_milder_scores_higher(found: Found) -> None:
    assert np.mean(found.ordered) >= 0.93, table(found)
    assert len(found.ordered) > 50


def test_fixed_points(found: Found) -> None:
    assert min(found.scores["base"]) == 1
    assert max(found.scores["blank"]) < 0.02
    assert max(found.scores["average"]) < 0.02


def test_a_small_shift_costs_little_and_another_target_nearly_all(found: Found) -> None:
    assert min(found.scores["3px"]) > 0.9
    assert max(found.scores["another"]) < 0.35, table(found)


@pytest.mark.parametrize(("first", "second"), LOOKALIKES)
def test_what_charts_share_by_chance_is_worth_little(first: str, second: str) -> None:
    assert compare(pictures.base(first), pictures.base(second)).score < 0.35


def test_nothing_hollow_beats_an_honest_rough_attempt(found: Found) -> None:
    assert not found.fooled


def test_what_is_right_in_one_respect_is_worth_little(found: Found) -> None:
    for version in HOLLOW.keys() & found.scores.keys():
        assert max(found.scores[version]) < HOLLOW[version], (version, table(found))


def test_text_to_the_judge_lowers_the_score_of_a_good_render(found: Found) -> None:
    assert max(found.scores["sway"]) < 1


@pytest.mark.parametrize("name", PANELS_AND_ICONS)
def test_a_page_of_panels_may_shift_and_gains_nothing_by_words_to_the_judge(name: str) -> None:
    made = web_edits.versions(name)
    score = {version: compare(made["base"], made[version], "web").score for version in ("shift", "rough", "rough+sway")}
    assert score["shift"] > 0.9
    assert score["rough+sway"] <= score["rough"]


@pytest.mark.parametrize("kind", pictures.SINGLE)
def test_the_words_name_what_was_done_to_a_chart(charts: Found, kind: str) -> None:
    if kind != "legend":  # too few charts of the sample have one; see below
        assert np.mean(charts.named[kind]) >= 0.8, charts.silent


@pytest.mark.parametrize("name", ["lines_bars_and_markers__barchart", "ticks__date_index_formatter"])
def test_a_missing_legend_is_named(name: str) -> None:
    versions = pictures.versions(name)
    assert "legend" in compare(versions["base"], versions["legend"]).feedback


def test_the_words_name_what_was_done_to_a_page(pages: Found) -> None:
    hits = [named for kind in web_edits.SINGLE for named in pages.named[kind]]
    assert np.mean(hits) >= 0.8, pages.silent
