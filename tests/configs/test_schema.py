"""Every setting is bounded or has choices, says its meaning, and keeps its own rule; its page is current."""

from dataclasses import MISSING, fields
from pathlib import Path
from typing import get_args, get_origin

import pytest
from omegaconf import OmegaConf

from configs import describe
from configs.fields import convert, rule_of, section, settings
from configs.schema import Config
from serving.render.sandbox import LAYERS

SETTINGS = settings(Config)


@pytest.mark.parametrize("key", SETTINGS)
def test_a_setting_has_a_range_or_choices_a_meaning_and_a_default_within(key: str) -> None:
    f = SETTINGS[key]
    rule = rule_of(f)
    kinds = get_args(f.type) if get_origin(f.type) is tuple else (f.type,)
    assert len(rule.doc) >= 8
    if kinds[0] in (int, float):
        assert (rule.ge is None) != (rule.gt is None)
        assert rule.le is not None
    elif f.type == list[str] or rule.choices:
        assert all(len(meaning) >= 5 and meaning.endswith(".") for meaning in rule.choices.values())
        assert len(rule.choices) >= 2
    else:
        assert f.type in (bool, str)
    default = f.default if f.default is not MISSING else f.default_factory()
    assert convert(f, default) == default
    assert type(convert(f, default)) in (f.type, get_origin(f.type))


def test_every_section_says_what_it_is_for() -> None:
    def sections(kind: type) -> list[type]:
        inner = [found for f in fields(kind) if (found := section(f))]
        return inner + [deeper for one in inner for deeper in sections(one)]

    assert len(sections(Config)) > 20
    assert [s for s in sections(Config) if (s.__doc__ or "").startswith(f"{s.__name__}(")] == []


def test_the_schema_stays_a_structured_config_of_omegaconf() -> None:
    merged = OmegaConf.merge(OmegaConf.structured(Config), {"run": {"steps": "7"}})
    assert OmegaConf.to_object(merged).run.steps == 7


def test_the_layers_that_may_be_missing_are_those_of_the_jail() -> None:
    assert tuple(rule_of(SETTINGS["render.sandbox.allow_missing"]).choices) == LAYERS


def test_the_page_is_current() -> None:
    page = Path(describe.__file__).with_name("README.md").read_text()
    assert page == describe.page(), "python -m configs.describe > configs/README.md"
    assert [key for key in SETTINGS if f"`{key}`" not in page] == []


def test_describe_prints_a_key_or_a_part_and_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert describe.main(["staleness"]) == 0
    text = capsys.readouterr().out
    assert "## queue: " in text
    assert "- `queue.max_staleness` = `2`: " in text
    assert "A whole number from 0 to 100000 (versions)." in text
    assert "run.steps" not in text
    assert describe.main(["grpo.surogate"]) == 2
    assert "did you mean `grpo.surrogate`?" in capsys.readouterr().err
