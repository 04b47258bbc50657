"""One optimiser step against TRL's, against itself cut differently, and against numbers that are no numbers."""

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file
from torch import Tensor

from actors.trajectory import Reward
from configs.schema import Config
from tests.training import tiny
from tests.training.learner import trl_side
from training.learner.model import named_weights
from training.learner.ranks import Ranks
from training.learner.update import Diverged, Learner, Shard, schedule

ALONE = Ranks.join(0)


def config(**options: Any) -> Config:
    """Defaults with `section__key=value` changed."""
    made = Config()
    made.learner.warmup_steps = 0
    for name, value in options.items():
        section, key = name.split("__")
        setattr(getattr(made, section), key, value)
    return made


def gradients(learner: Learner, step: int = 0, seed: int = 0) -> tuple[float, Tensor, dict[str, float | None]]:
    """Loss, the flat gradient before clipping, and the panel of one step on made-up groups."""
    shards, _ = learner.plan(tiny.groups(3, 4, seed=seed))
    panel = learner.train(shards[0], step, step)
    flat = torch.cat([p.grad.flatten() for p in learner.policy.parameters() if p.grad is not None])
    assert panel["loss"] is not None
    return panel["loss"], flat, panel


def frozen(**options: Any) -> Config:
    """No learning rate and no clipping, so that gradients can be read after a step."""
    return config(**{"learner__lr": 0.0, "learner__grad_clip": math.inf} | options)


def apart(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


# TRL's loss type -> its options, and ours for the same loss.
TRL: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "grpo": ({}, {"grpo__aggregate": "sequence"}),
    "bnpo": ({}, {"grpo__aggregate": "token"}),
    "dapo": ({"epsilon_high": 0.28}, {"grpo__aggregate": "token", "grpo__eps_high": 0.28}),
    "dr_grpo": ({}, {"grpo__aggregate": "constant", "grpo__constant_length": 512}),
    "gspo": (
        {"loss_type": "grpo", "importance_sampling_level": "sequence"},
        {"grpo__aggregate": "sequence", "grpo__ratio": "sequence"},
    ),
    "luspo": (
        {"importance_sampling_level": "sequence"},
        {"grpo__aggregate": "constant", "grpo__constant_length": 1, "grpo__ratio": "sequence"},
    ),
    "cispo": ({"epsilon_high": 2.0}, {"grpo__surrogate": "cispo", "grpo__eps_high": 1.0}),
    "sapo": ({}, {"grpo__surrogate": "sapo", "grpo__aggregate": "sequence"}),
    "vespo": ({}, {"grpo__surrogate": "vespo"}),
}


@pytest.fixture(scope="module")
def trl(policy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return trl_side.trainer(policy_folder, tmp_path_factory.mktemp("trl"), beta=0.0)


@pytest.mark.parametrize("kind", TRL)
def test_loss_and_gradient_are_those_of_trl(kind: str, trl: Any, policy_folder: Path) -> None:
    theirs, ours = TRL[kind]
    learner = Learner(str(policy_folder), frozen(**ours), ALONE)
    learner.policy.forbidden.zero_()  # TRL forbids nothing
    learner.limits = replace(learner.limits, banned=frozenset())
    # VESPO raises a trajectory's summed log-ratio to the third power: rounding is only small where the sum is.
    shards, screened = learner.plan(near(tiny.groups(3, 4), learner, 0.02 if kind == "vespo" else 0.2))
    panel = learner.train(shards[0], 0, 0)
    mine = {name: p.grad for name, p in learner.policy.hf.named_parameters()}

    trl.loss_type = theirs.get("loss_type", kind)
    trl.importance_sampling_level = theirs.get("importance_sampling_level", "token")
    trl.epsilon_low, trl.epsilon_high = 0.2, theirs.get("epsilon_high", 0.2)
    trl.model.zero_grad()
    batch = trl_side.inputs(screened.rows, screened.images, learner.pixels, tiny.PAD)
    loss = trl._compute_loss(trl.model, batch)
    loss.backward()
    # Both sum float32 numbers in an order of their own, which differs by CPU too. A loss is a sum whose terms nearly
    # cancel: its rounding is that of the terms. VESPO's weights rest on log-ratios summed over up to 65 tokens.
    rounding = 1e-4 if kind == "vespo" else 1e-5
    rows = [row for micro_batch in shards[0].updates[0] for bundle in micro_batch for row in bundle]
    terms = sum(abs(row.advantage) * row.weight * int(row.sampled.sum()) for row in rows)
    assert panel["loss"] == pytest.approx(float(loss.detach()), rel=rounding, abs=2e-6 * terms)
    pairs = [(mine[name], p.grad) for name, p in trl.model.named_parameters()]
    assert apart(*(torch.cat([pair[i].flatten() for pair in pairs]) for i in (0, 1))) < rounding


def near(groups: list[Any], learner: Learner, noise: float = 0.2) -> list[Any]:
    """The groups with behaviour log-probabilities about those of the policy: some ratios clipped, most not."""
    shards, _ = learner.plan(groups)
    made: dict[tuple[int, int], list[float]] = {}
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for bundles in shards[0].updates[0]:
            batch, logp, _ = learner._forward(learner.policy, bundles, shards[0].images)
            noisy = logp + noise * torch.randn(len(logp), generator=generator)
            for number, row in enumerate(batch.rows):
                made[row.group, row.member] = noisy[batch.sequence == number].tolist()
    out = []
    for group in groups:
        members = []
        for place, t in enumerate(group.trajectories):
            values = iter(made[group.group, place])
            members.append(replace(t, logprobs=tuple(next(values) if s else 0.0 for s in t.sampled)))
        out.append(replace(group, trajectories=tuple(members)))
    return out


def test_micro_batches_add_up_to_the_full_batch(policy_folder: Path) -> None:
    for aggregate in ("sequence", "token", "constant"):
        found = []
        for budget in (100_000, 400):
            options = {"learner__token_budget": budget, "grpo__aggregate": aggregate}
            learner = Learner(str(policy_folder), frozen(**options), ALONE)
            found.append(gradients(learner)[:2])
        assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
        assert apart(found[1][1], found[0][1]) < 1e-5


def one_rank(rank: int, size: int, folder: str, out: str, store: str) -> None:
    """Two FSDP2 steps on a rank of a gloo group; rank 0 saves what came out."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    ranks = Ranks.join(0)
    learner = Learner(folder, config(learner__lr=1e-3, learner__token_budget=400), ranks)
    panels = []
    for step in range(2):
        shards = learner.plan(tiny.groups(3, 4, seed=step))[0] if rank == 0 else None
        panels.append(learner.train(ranks.scatter(shards), step, step))
    weights = dict(named_weights(learner.policy, torch.float32))
    if rank == 0:
        torch.save({"panels": panels, "weights": weights}, out)
    torch.distributed.destroy_process_group()


def test_two_ranks_are_one(policy_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "two.pt"
    mp.spawn(one_rank, (2, str(policy_folder), str(out), str(tmp_path / "store")), nprocs=2)
    two = torch.load(out)
    learner = Learner(str(policy_folder), config(learner__lr=1e-3, learner__token_budget=400), ALONE)
    for step, panel in enumerate(two["panels"]):
        _, _, mine = gradients(learner, step, seed=step)
        for key in ("loss", "grad_norm", "entropy", "behaviour_k3", "ess", "sampled_tokens"):
            assert panel[key] == pytest.approx(mine[key], rel=1e-5), key
    mine_weights = dict(named_weights(learner.policy, torch.float32))
    assert two["weights"].keys() == mine_weights.keys()
    whole = [torch.cat([w[name].flatten() for name in mine_weights]) for w in (two["weights"], mine_weights)]
    assert apart(*whole) < 1e-5


def trained(learner: Learner) -> Tensor:
    return torch.cat([p.detach().flatten() for p in learner.policy.parameters() if p.requires_grad])


def test_a_gradient_that_is_no_number_changes_nothing_and_three_in_a_row_raise(policy_folder: Path) -> None:
    learner = Learner(str(policy_folder), config(), ALONE)
    shards, _ = learner.plan(tiny.groups(3, 4))
    poisoned = spoil(shards[0], float("nan"))
    before = trained(learner)
    for _ in range(2):
        panel = learner.train(poisoned, 0, 0)
        assert panel["skipped"] == 1 and not math.isfinite(panel["grad_norm"] or 0.0)
        assert torch.equal(trained(learner), before)
    assert learner.train(shards[0], 0, 0)["skipped"] == 0  # a good one starts the count anew
    assert not torch.equal(trained(learner), before)
    for _ in range(2):
        learner.train(poisoned, 0, 0)
    with pytest.raises(Diverged, match="3 gradients in a row"):
        learner.train(poisoned, 0, 0)


def spoil(shard: Shard, advantage: float) -> Shard:
    updates = tuple(
        tuple([tuple(replace(row, advantage=advantage) for row in bundle) for bundle in m] for m in update)
        for update in shard.updates
    )
    return replace(shard, updates=updates)


@pytest.mark.parametrize("rank", [0, 4])
def test_full_and_lora_both_learn(policy_folder: Path, rank: int) -> None:
    """Positive advantages on fixed tokens: their log-probabilities rise; with LoRA only adapters move."""
    learner = Learner(str(policy_folder), config(learner__lr=3e-3, learner__lora_rank=rank), ALONE)
    shards, _ = learner.plan(tiny.groups(2, 3))
    pushed = spoil(shards[0], 1.0)

    def total() -> float:
        with torch.no_grad():
            return sum(
                float(learner._forward(learner.policy, b, pushed.images)[1].sum()) for u in pushed.updates for b in u
            )

    learner.config.grpo.proximal = "learner"
    learner.config.grpo.importance = "off"
    before, size = total(), sum(p.numel() for p in learner.policy.parameters() if p.requires_grad)
    held = {n: p.detach().clone() for n, p in learner.policy.named_parameters() if not p.requires_grad}
    for step in range(4):
        learner.train(pushed, step, step)
    assert total() > before + 10
    assert all(torch.equal(p, held[n]) for n, p in learner.policy.named_parameters() if n in held)
    assert (size < 200_000 and held) if rank else not held


def test_lora_weights_merge_into_the_plain_model(policy_folder: Path, tmp_path: Path) -> None:
    learner = Learner(str(policy_folder), config(learner__lr=3e-3, learner__lora_rank=4), ALONE)
    shards, _ = learner.plan(tiny.groups(2, 3))
    learner.train(shards[0], 0, 0)
    shutil.copytree(policy_folder, tmp_path / "merged")
    first = load_file(policy_folder / "model.safetensors")
    merged = dict(named_weights(learner.policy, torch.float32))
    assert merged.keys() == first.keys()
    assert any(not torch.equal(merged[n], first[n]) for n in first)
    save_file(merged, tmp_path / "merged" / "model.safetensors", {"format": "pt"})
    plain = Learner(str(tmp_path / "merged"), config(), ALONE)
    with torch.no_grad():
        for bundles in shards[0].updates[0]:
            both = [learner._forward(p, bundles, shards[0].images)[1] for p in (learner.policy, plain.policy)]
            assert torch.allclose(*both, atol=1e-4)


@pytest.mark.parametrize("rank", [0, 4])
def test_the_kl_term_starts_at_zero_against_the_first_weights(policy_folder: Path, rank: int) -> None:
    learner = Learner(str(policy_folder), config(grpo__kl_beta=0.1, learner__lr=1e-3, learner__lora_rank=rank), ALONE)
    assert (learner.reference is None) == bool(rank)
    kl = [gradients(learner, step)[2]["kl"] for step in range(2)]
    assert kl[0] == pytest.approx(0.0, abs=1e-9)
    assert kl[1] is not None and kl[1] > 1e-6
    assert Learner(str(policy_folder), config(), ALONE).reference is None


def test_several_updates_of_a_batch_keep_its_first_policy_as_proximal(policy_folder: Path) -> None:
    options = {"learner__updates": 3, "learner__lr": 3e-3, "grpo__proximal": "learner", "grpo__importance": "off"}
    learner = Learner(str(policy_folder), config(**options), ALONE)
    shards, _ = learner.plan(tiny.groups(3, 4))
    assert len(shards[0].updates) == 3
    panel = learner.train(shards[0], 0, 0)
    assert (panel["clip_low"] or 0) + (panel["clip_high"] or 0) > 0  # the later updates are off the first policy


def test_bfloat16_arithmetic_keeps_float32_weights(policy_folder: Path) -> None:
    """A surrogate without a clip: rounding may carry a token over the clip's edge, where its whole gradient goes."""
    smooth = {"grpo__surrogate": "sapo"}
    exact = gradients(Learner(str(policy_folder), frozen(**smooth), ALONE))
    rough = Learner(str(policy_folder), frozen(**smooth, policy__dtype="bfloat16"), ALONE)
    _, flat, _ = gradients(rough)
    assert {p.dtype for p in rough.policy.parameters()} == {torch.float32}
    assert apart(flat, exact[1]) < 0.06  # 0.026 with AVX2 and without: roundings of 2^-9 through eight layers and back
    assert not torch.equal(flat, exact[1])


def test_the_panel_knows_the_weights_that_sampled(policy_folder: Path) -> None:
    learner = Learner(str(policy_folder), frozen(), ALONE)
    shards, _ = learner.plan(near(tiny.groups(3, 4), learner))
    panel = learner.train(shards[0], 0, 0)  # the made-up tokens carry version 0
    assert panel["same_version"] == 1.0
    assert panel["mismatch_k3"] == pytest.approx(0.02, rel=0.3)  # noise of 0.2: about 0.2^2 / 2
    assert panel["mismatch_max"] is not None and 0.4 < panel["mismatch_max"] < 1.0
    assert panel["ess"] == pytest.approx(1 / (1 + 0.04), rel=0.02)
    assert panel["ess_trajectories"] is not None and panel["ess_trajectories"] < panel["ess"]
    later = learner.train(shards[0], 5, 5)
    assert later["mismatch_k3"] is None and later["same_version"] == 0.0
    assert later["behaviour_k3"] == pytest.approx(panel["behaviour_k3"])


def test_the_learning_rate_shrinks_by_the_root_of_the_effective_sample_size(policy_folder: Path) -> None:
    for on in (False, True):
        learner = Learner(str(policy_folder), config(learner__lr=1e-3, learner__ess_lr=on), ALONE)
        shards, _ = learner.plan(near(tiny.groups(3, 4), learner, 0.1))
        panel = learner.train(shards[0], 0, 0)
        share = panel["ess_trajectories"]
        assert share is not None and 0.05 < share < 0.95
        assert panel["lr"] == pytest.approx(1e-3 * (math.sqrt(share) if on else 1.0))


def test_parts_apart_change_what_is_learned(policy_folder: Path) -> None:
    learner = Learner(str(policy_folder), frozen(grpo__parts="apart"), ALONE)
    [group] = tiny.groups(1, 4)
    scores = [(0.9, 1.0), (0.5, 1.0), (0.7, 1.0), (0.0, -1.0)]
    members = tuple(
        replace(t, turns=(tiny.turn(form > 0),), reward=Reward(0.8 * vision + 0.2 * form, vision, form, 0.0))
        for t, (vision, form) in zip(group.trajectories, scores, strict=True)
    )
    _, screened = learner.plan([replace(group, trajectories=members)])
    best, worst, middle, failed = (row.advantage for row in screened.rows)
    assert best > middle > failed > worst  # 0.8 of a deviation of similarity is worth more than 0.2 of one of form
    assert sum(row.advantage for row in screened.rows) == pytest.approx(0, abs=1e-6)


def test_schedules() -> None:
    assert [schedule(s, 10, 2, "constant") for s in (0, 1, 2, 9)] == pytest.approx([1 / 3, 2 / 3, 1, 1])
    assert [schedule(s, 10, 0, "linear") for s in (0, 5, 10)] == pytest.approx([1, 0.5, 0])
    assert [schedule(s, 12, 2, "cosine") for s in (2, 7, 12)] == pytest.approx([1, 0.5, 0])
