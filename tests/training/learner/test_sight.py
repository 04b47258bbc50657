"""The blindness check with pixels dropped on one side after the other: each is named, and nothing else is."""

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from configs.schema import Config
from tests.training import tiny
from training.learner import sight
from training.learner.packing import Row, Screened, build, row_of
from training.learner.ranks import Ranks
from training.learner.update import Learner

ROWS, TURN = 12, 6  # answers, tokens of one turn


class Dropped:
    """Pictures that lost their pixels on the way."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def patches(self, *names: Any) -> tuple[Tensor, Tensor]:
        values, grids = self.inner.patches(*names)
        return torch.zeros_like(values), grids


@pytest.fixture
def learner(policy_folder: Path) -> Learner:
    return Learner(str(policy_folder), Config(), Ranks.join(0))


def sampled(learner: Learner, blind: set[int]) -> Screened:
    """Two turns of each of some answers, sampled token by token as an engine would that loses the pixels in `blind`."""
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    whole, lost = learner.pixels, Dropped(learner.pixels)
    rows: list[Row] = []
    images: dict[str, bytes] = {}
    for n in range(ROWS):
        png = tiny.picture(n)
        name = hashlib.sha256(png).hexdigest()
        made = tiny.trajectory([30, 40, 50], png, rng, turns=2, show=False, words=(TURN, TURN + 1))
        row = row_of(made, n, 0, (name,), learner.limits, whole)
        assert isinstance(row, Row)
        rows.append(replace(row, weight=1.0))
        images[name] = png
    logits: list[Tensor] = []
    hook = learner.policy.hf.lm_head.register_forward_hook(lambda module, given, out: logits.append(out.float()))
    for place in range(2 * TURN):
        learner.pixels = lost if place // TURN in blind else whole  # type: ignore[assignment]
        logits.clear()
        with torch.no_grad():
            learner._forward(learner.policy, [(row,) for row in rows], images)
        logp = (logits[0] + learner.policy.forbidden).log_softmax(-1).view(ROWS, 2 * TURN, -1)[:, place]
        picked = torch.multinomial(logp.exp(), 1, generator=generator)[:, 0]
        for n, (row, token) in enumerate(zip(rows, picked.tolist(), strict=True)):
            at = np.flatnonzero(row.sampled)[place]
            row.ids[at], row.behaviour[at] = token, float(logp[n, token])
    hook.remove()
    learner.pixels = whole
    return Screened(tuple(rows), images, Counter())


def look(learner: Learner, screened: Screened) -> tuple[list[sight.Turn], list[str], dict[str, float]]:
    made = sight.probe(screened, learner, 0)
    assert made is not None and len(made.rows) == ROWS
    scores = {name: sight.score(learner, shards[0], ROWS, made.width) for name, shards in made.shards.items()}
    turns = sight.compare(made.rows, scores, 0)
    return turns, sight.faults(turns), sight.figures(made.rows, scores, turns, learner.tokenizer)


def test_a_policy_that_sees_on_both_sides_is_let_go(learner: Learner) -> None:
    turns, lines, found = look(learner, sampled(learner, set()))
    assert lines == []
    assert len(turns) == 2 and all(turn.matters > 5 * sight.MATTERS for turn in turns)
    assert {"sight_turn1", "sight_turn2", "sight_grey_turn1", "sight_grey_turn2"} <= set(found)
    assert found["mismatch_k3_turn1"] < 1e-6 and found["mismatch_k3_turn2"] < 1e-6


@pytest.mark.parametrize(("blind", "named"), [({0, 1}, [1, 2]), ({1}, [2])])
def test_pixels_dropped_on_the_engines_side_are_named_with_their_turn(
    learner: Learner, blind: set[int], named: list[int]
) -> None:
    _, lines, found = look(learner, sampled(learner, blind))
    assert len(lines) == len(named)
    assert all(f"in turn {n}:" in line for n, line in zip(named, lines, strict=True)), lines
    assert all(line.startswith("the engine does not see") for line in lines), lines
    assert found[f"mismatch_k3_turn{named[0]}"] > sight.AGREES


def test_pixels_dropped_on_the_learners_side_are_named(learner: Learner) -> None:
    screened = sampled(learner, set())
    learner.pixels = Dropped(learner.pixels)  # type: ignore[assignment]
    turns, lines, _ = look(learner, screened)
    assert [line.split(":")[0] for line in lines] == [
        f"the learner does not see the pictures in turn {n}" for n in (1, 2)
    ]
    assert turns[0].matters == 0


def test_a_policy_that_does_not_look_is_named(learner: Learner) -> None:
    with torch.no_grad():
        learner.policy.hf.model.visual.merger.mlp[-1].weight.zero_()
        learner.policy.hf.model.visual.merger.mlp[-1].bias.zero_()
    _, lines, found = look(learner, sampled(learner, set()))
    assert len(lines) == 1 and lines[0].startswith("the policy does not look at its pictures")
    assert found["sight_turn1"] == pytest.approx(0, abs=1e-6)


def test_one_target_cannot_be_exchanged(learner: Learner) -> None:
    screened = sampled(learner, set())
    one = tuple(replace(row, images=screened.rows[0].images) for row in screened.rows)
    assert sight.probe(replace(screened, rows=one), learner, 0) is None


def test_attributes_are_found_wherever_a_turn_states_them(learner: Learner) -> None:
    """Also where it reads the chart out first: what follows only copies that."""
    text = "<think>bar 'Sales' 4,7</think><answer>\nplt.bar([1,2],[4,7],color='red')\nplt.title('Sales')</answer>"
    ids = np.array([5, *learner.tokenizer(text, add_special_tokens=False)["input_ids"]])
    marked = np.array([False] + [True] * (len(ids) - 1))
    row = Row(ids, marked, np.zeros(len(ids)), np.zeros(len(ids), dtype=np.int64), (), (), 0, 0)
    found = sight.attribute_tokens(row, learner.tokenizer)

    def answered(name: str) -> str:
        return learner.tokenizer.decode([int(ids[marked][place]) for place in found[name]])

    assert set(found) == {"kind", "colour", "title", "values"}
    assert answered("values").replace(" ", "").count("4,7") == 2
    assert (
        answered("title").count("Sales") == 2
        and answered("colour").count("red") == 1
        and answered("kind").count("bar") == 2
    )


def test_grey_and_exchanged_pictures_keep_their_size(learner: Learner) -> None:
    wide, tall = tiny.picture(1, (168, 112)), tiny.picture(2, (112, 168))
    row = sampled(learner, set()).rows[0]
    shown, images = sight._shown(replace(row, images=("wide",)), {"wide": wide}, tall)
    [name] = shown.images
    assert learner.pixels.grid(images[name], name) == learner.pixels.grid(wide, "wide")
    assert build([(row,)], learner.limits.image_token, learner.pixels).ids.shape == row.ids.shape
