"""Screening drops by named reason; packing keeps every token once, in order, within its budget."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.trajectory import Group, Reward, Trajectory
from configs.schema import Grpo
from tests.training import tiny
from training.learner import grpo
from training.learner.image_inputs import Pixels
from training.learner.packing import (
    BadBatch,
    Limits,
    Row,
    build,
    pack,
    placeholder_runs,
    positions,
    screen,
    shared_prefix,
    tokens_of,
    weigh,
)

LIMITS = Limits(vocabulary=512, max_tokens=600, image_token=tiny.PAD, banned=frozenset({0, 1, 3, 4, 5, 6, 7}))


@pytest.fixture(scope="module")
def pixels(policy_folder: Path) -> Pixels:
    from transformers import AutoProcessor

    return Pixels(AutoProcessor.from_pretrained(policy_folder).image_processor)


def put(values: tuple[Any, ...], place: int, value: Any) -> tuple[Any, ...]:
    return (*values[:place], value, *values[place + 1 :])


def first_sampled(t: Trajectory) -> int:
    return t.sampled.index(True)


BROKEN: dict[str, Callable[[Trajectory], Trajectory]] = {
    "shape": lambda t: replace(t, logprobs=t.logprobs[1:]),
    "empty": lambda t: replace(t, sampled=(False,) * len(t.sampled)),
    "mask": lambda t: replace(t, sampled=put(t.sampled, 0, True)),
    "vocabulary": lambda t: replace(t, token_ids=put(t.token_ids, first_sampled(t), 512)),
    "banned": lambda t: replace(t, token_ids=put(t.token_ids, first_sampled(t), tiny.END)),
    "logprob": lambda t: replace(t, logprobs=put(t.logprobs, first_sampled(t), float("nan"))),
    "images": lambda t: replace(t, images=(*t.images, tiny.picture(5))),
    "long": lambda t: replace(
        t,
        **{k: getattr(t, k) + getattr(t, k)[-1:] * 600 for k in ("token_ids", "sampled", "logprobs", "versions")},
    ),
}


@pytest.mark.parametrize("reason", BROKEN)
def test_a_bad_trajectory_is_dropped_and_named(reason: str, pixels: Pixels) -> None:
    [good] = tiny.groups(1, 4)
    bad = replace(good, trajectories=(BROKEN[reason](good.trajectories[0]), *good.trajectories[1:]))
    found = screen([bad], LIMITS, pixels, Grpo())
    assert found.dropped == Counter({reason: 1})
    assert [row.member for row in found.rows] == [1, 2, 3]
    rest = torch.tensor([t.reward.total for t in good.trajectories[1:]], dtype=torch.float64)
    expected = (rest - rest.mean()) / (rest.std() + 1e-4)
    assert [row.advantage for row in found.rows] == pytest.approx(expected.tolist())


def test_an_unreadable_picture_and_a_grid_of_another_size_are_mismatches(pixels: Pixels) -> None:
    [group] = tiny.groups(1, 4, show=False)
    for png in (b"not a picture", tiny.picture(9, (84, 84))):
        first = replace(group.trajectories[0], images=(png,))
        found = screen([replace(group, trajectories=(first, *group.trajectories[1:]))], LIMITS, pixels, Grpo())
        assert found.dropped == Counter({"images": 1})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_reward_that_is_no_number_drops_its_whole_group(value: float, pixels: Pixels) -> None:
    good, bad = tiny.groups(2, 3)
    spoilt = replace(bad.trajectories[0], reward=Reward(value, 0, 0, 0))
    bad = replace(bad, trajectories=(spoilt, *bad.trajectories[1:]))
    found = screen([good, bad], LIMITS, pixels, Grpo())
    assert found.dropped == Counter({"reward": 3})
    assert {row.group for row in found.rows} == {good.group}
    with pytest.raises(BadBatch, match="'reward': 3"):
        screen([bad], LIMITS, pixels, Grpo())


def test_a_lone_survivor_has_no_baseline(pixels: Pixels) -> None:
    good, bad = tiny.groups(2, 2)
    bad = replace(bad, trajectories=(BROKEN["empty"](bad.trajectories[0]), bad.trajectories[1]))
    assert screen([good, bad], LIMITS, pixels, Grpo()).dropped == Counter({"empty": 1, "lonely": 1})


def test_an_answer_that_was_cut_off_or_only_compared_with_moves_nothing_and_no_baseline(pixels: Pixels) -> None:
    [group] = tiny.groups(1, 4)
    first, second, *others = group.trajectories
    group = replace(group, trajectories=(replace(first, ending="length"), replace(second, control=True), *others))
    found = screen([group], LIMITS, pixels, Grpo(mask_overlong=True))
    assert found.dropped == Counter({"overlong": 1, "control": 1})
    totals = torch.tensor([t.reward.total for t in others], dtype=torch.float64)
    assert [row.advantage for row in found.rows] == grpo.advantages(totals, "std").tolist()
    assert screen([group], LIMITS, pixels, Grpo()).dropped == Counter({"control": 1})


def rows_of(groups: list[Group], pixels: Pixels) -> tuple[Row, ...]:
    return weigh(screen(groups, LIMITS, pixels, Grpo()).rows, Grpo())


def test_each_picture_is_kept_once(pixels: Pixels) -> None:
    found = screen(tiny.groups(3, 4), LIMITS, pixels, Grpo())
    shown = [name for row in found.rows for name in row.images]
    assert len(found.images) == len(set(shown)) < len(shown)


def test_positions_are_those_of_transformers(policy_folder: Path, pixels: Pixels) -> None:
    from training.learner.model import load_model

    model = load_model(policy_folder).model
    for row in rows_of(tiny.groups(2, 4), pixels):
        ids = torch.from_numpy(row.ids)[None]
        expected, _ = model.get_rope_index(ids, (ids == tiny.PAD).int(), image_grid_thw=torch.tensor(row.grids))
        assert np.array_equal(positions(row.ids, row.grids, tiny.PAD, 2), expected[:, 0].numpy())


def test_a_prompt_is_shared_up_to_the_first_difference_in_ids_or_pictures(pixels: Pixels) -> None:
    a, b, *_ = rows_of(tiny.groups(1, 4, show=False), pixels)
    prompt = int(a.sampled.argmax())
    assert shared_prefix([a, b], tiny.PAD) == prompt
    assert shared_prefix([a], tiny.PAD) == 0
    [(start, stop)] = placeholder_runs(a.ids, tiny.PAD)
    other = replace(b, images=("f" * 64,))
    assert shared_prefix([a, other], tiny.PAD) == start
    ids = b.ids.copy()
    ids[stop + 1] += 1
    assert shared_prefix([a, replace(b, ids=ids)], tiny.PAD) == stop + 1


def test_build_lays_every_token_once_and_predicts_every_sampled_one(pixels: Pixels) -> None:
    rows = rows_of(tiny.groups(2, 4), pixels)
    [[bundles]] = pack(rows, 10_000, 1, tiny.PAD)
    batch = build(bundles, tiny.PAD, pixels)
    assert len(batch.ids) == sum(tokens_of(b, tiny.PAD) for b in bundles) < sum(len(row.ids) for row in rows)
    assert len(batch.target) == sum(int(row.sampled.sum()) for row in rows)
    assert len(batch.images) == len(set(batch.images)) == len({n for row in rows for n in row.images})
    assert (batch.ids[batch.slots] == tiny.PAD).all()
    assert int((batch.ids == tiny.PAD).sum()) == len(batch.slots)
    for number, row in enumerate(batch.rows):
        mine = batch.sequence == number
        assert batch.target[mine].tolist() == row.ids[row.sampled].tolist()
        before = row.ids[np.flatnonzero(row.sampled) - 1]
        assert batch.ids[batch.source[mine]].tolist() == before.tolist()
    wanted = np.concatenate([row.behaviour[row.sampled] for row in batch.rows])
    assert np.array_equal(batch.behaviour.numpy(), wanted)


def test_a_turn_has_the_version_it_was_opened_with(pixels: Pixels) -> None:
    row = replace(
        plain_row(9, 0),
        sampled=np.array([0, 1, 1, 0, 1, 1, 1, 0, 1], dtype=bool),
        versions=np.array([-1, 3, 4, -1, 4, 4, 5, -1, 5]),
    )
    assert build([(row,)], tiny.PAD, pixels).opened.tolist() == [3, 3, 4, 4, 4, 5]


def plain_row(length: int, group: int) -> Row:
    ids = np.arange(length, dtype=np.int64) + 20 + 1000 * group
    sampled = np.arange(length) >= length // 2
    zeros = np.zeros(length)
    return Row(ids, sampled, zeros.astype(np.float32), zeros.astype(np.int64), (), (), group, 0, 0.0, 1.0)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.lists(st.integers(4, 90), min_size=2, max_size=6), min_size=1, max_size=8),
    budget=st.integers(30, 300),
    ranks=st.integers(1, 3),
)
def test_packing_places_every_row_once_within_the_budget(lengths: list[list[int]], budget: int, ranks: int) -> None:
    rows = [plain_row(n, g) for g, members in enumerate(lengths) for n in members]
    shares = pack(rows, budget, ranks, tiny.PAD)
    assert len(shares) == ranks
    assert len({len(share) for share in shares}) == 1
    placed = [row for share in shares for bundles in share for bundle in bundles for row in bundle if row.weight]
    assert sorted(map(id, placed)) == sorted(map(id, rows))
    for bundles in (b for share in shares for b in share):
        size = sum(tokens_of(bundle, tiny.PAD) for bundle in bundles)
        assert size <= budget or sum(len(bundle) for bundle in bundles) == 1
        assert all(len({row.group for row in bundle}) == 1 for bundle in bundles)


def test_ranks_get_about_equal_work() -> None:
    rng = np.random.default_rng(0)
    rows = [plain_row(int(n), g) for g in range(24) for n in rng.integers(50, 400, 8)]
    shares = pack(rows, 4096, 4, tiny.PAD)
    work = [sum(tokens_of(b, tiny.PAD) for m in share for b in m) for share in shares]
    assert max(work) <= 1.1 * sum(work) / 4
