"""Labels of nodes as a setting writes them."""

import re

import pytest
from ray._private.label_utils import validate_label_selector

from configs.places import FORM, fits, selector


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("", {}),
        ("pool=gpu", {"pool": "in(gpu)"}),
        ("pool=a|b,ray.io/market-type!=spot", {"pool": "in(a,b)", "ray.io/market-type": "!in(spot)"}),
    ],
)
def test_ray_takes_what_a_setting_says(text: str, asked: dict[str, str]) -> None:
    assert not text or re.fullmatch(FORM, text)
    assert selector(text) == asked and validate_label_selector(selector(text)) is None


@pytest.mark.parametrize("text", ["pool", "=gpu", "pool=", "pool==a", "pool=a,", "pool=a||b", "po ol=a", "a/b/c=d"])
def test_what_is_no_label_is_refused(text: str) -> None:
    assert not re.fullmatch(FORM, text)


def test_a_node_without_the_label_has_none_of_its_values() -> None:
    assert fits("a!=1", {}) and not fits("a=1", {})
    assert fits("a=1|2,b!=3", {"a": "2", "b": "4"}) and not fits("a=1|2,b!=3", {"a": "2", "b": "3"})
