"""The start of a domain that draws its own examples: what it takes over, and what the shipped one sees."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from configs.domains import shipped
from configs.load import load
from training.base import SHIPPED, start
from training.base import shipped as embedded
from training.base.wordlist import PAGE_WORDS, page_texts
from training.data import examples, tiny_policy

ROOT = Path(__file__).parents[3]
SVG = "configs/tiny_svg.yaml"


def test_a_domain_has_its_own_embedded_policy_or_that_of_charts(tmp_path: Path) -> None:
    own = {name: embedded(name) for name in shipped()}
    assert own["chart"] == SHIPPED and len(set(own.values())) == 3
    assert all((own[name] / "config.json").is_file() for name in ("svg", "web"))
    (tmp_path / "x.py").write_text((ROOT / "tests/domains/mathtext.py").read_text())
    assert embedded(str(tmp_path / "x.py")) == SHIPPED


@pytest.mark.parametrize(
    ("texts", "words", "apart"),
    [
        (["<svg><rect fill='red' x='3'/></svg>"] * 20, tiny_policy.QUOTED, tiny_policy.APART),
        (page_texts(0), PAGE_WORDS, ()),
    ],
    ids=["svg", "pages"],
)
def test_other_words_keep_the_layers_and_the_rows_of_known_tokens(
    tmp_path: Path, texts: list[str], words: str, apart: tuple[str, ...]
) -> None:
    made = tiny_policy.build(tmp_path / "made", 0, texts, words, SHIPPED, apart)
    new, old = (AutoTokenizer.from_pretrained(path).get_vocab() for path in (made, SHIPPED))
    assert new != old
    mine, theirs = load_file(made / "model.safetensors"), load_file(SHIPPED / "model.safetensors")
    assert mine.keys() == theirs.keys()
    for name, weights in theirs.items():
        if "embed_tokens" in name or "lm_head" in name:
            for token in new.keys() & old.keys():
                assert torch.equal(mine[name][new[token]], weights[old[token]].float()), (name, token)
        else:
            assert torch.equal(mine[name], weights.float()), name


def test_the_shipped_start_sees_its_pictures_and_leaves_something_to_learn(tmp_path: Path) -> None:
    config = load(SVG)
    folder = examples.write(tmp_path, config.data.domain, "heldout", 24, 7)
    card = json.loads((embedded(config.data.domain) / "card.json").read_text())["greedy"]
    found = start.measure(embedded(config.data.domain), config, folder)["greedy"]
    assert found["answered"] > 0.9 and found["drawn"] > 0.9
    assert abs(found["similarity"] - card["similarity"]) < 0.2 and found["similarity"] < 0.95
    assert found["exchanged similarity"] < 0.3 < found["similarity"] - 0.2
