"""The packed forward pass against transformers' own, one trajectory at a time; names of the weights."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from configs.schema import Config
from tests.training import tiny
from training.learner import attention
from training.learner.attention import Layout, Segment
from training.learner.model import Policy, load_model, load_policy, named_weights
from training.learner.packing import MicroBatch, build, pack, screen
from training.learner.ranks import Ranks
from training.learner.update import Learner

BANNED = (0, 1, 3, 4, 5, 6, 7)


@pytest.fixture(scope="module")
def learner(policy_folder: Path) -> Learner:
    return Learner(str(policy_folder), Config(), Ranks.join(0))


def packed(learner: Learner, budget: int, **how: Any) -> Iterator[tuple[MicroBatch, Tensor, Tensor]]:
    """Micro-batches of a few groups with their patches and grids."""
    screened = screen(tiny.groups(3, 4, **how), learner.limits, learner.pixels, learner.config.grpo)
    for bundles in pack(screened.rows, budget, 1, tiny.PAD)[0]:
        batch = build(bundles, tiny.PAD, learner.pixels)
        yield batch, *learner.pixels.patches(batch.images, screened.images)


def alone(model: Any, learner: Learner, batch: MicroBatch, images: dict[str, bytes], temperature: float) -> Tensor:
    """Log-probabilities of the sampled tokens by transformers' own forward, trajectory by trajectory."""
    out = []
    for row in batch.rows:
        ids = torch.from_numpy(row.ids)[None]
        patches, grids = learner.pixels.patches(row.images, images)
        logits = model(
            input_ids=ids, pixel_values=patches, image_grid_thw=grids, mm_token_type_ids=(ids == tiny.PAD).int()
        ).logits[0]
        logits = logits / temperature
        logits[:, list(BANNED)] = -torch.inf
        logp = logits.log_softmax(-1)[:-1].gather(1, ids[0, 1:, None])[:, 0]
        out.append(logp[torch.from_numpy(row.sampled[1:])])
    return torch.cat(out)


@pytest.mark.parametrize(("budget", "show", "temperature"), [(4096, True, 1.0), (300, True, 0.7), (4096, False, 1.0)])
def test_packed_equals_alone(
    policy_folder: Path, learner: Learner, budget: int, show: bool, temperature: float
) -> None:
    """Shared prompts, several pictures in a dialogue, any micro-batch: the same log-probabilities."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(policy_folder, dtype=torch.float32)
    images = screen(tiny.groups(3, 4, show=show), learner.limits, learner.pixels, learner.config.grpo).images
    learner.policy.temperature = temperature
    with torch.no_grad():
        for batch, patches, grids in packed(learner, budget, show=show):
            logp, entropy = learner.policy(batch, patches, grids)
            expected = alone(model, learner, batch, images, temperature)
            assert float((logp - expected).abs().max()) < 2e-5
            assert float(entropy.min()) >= 0
    learner.policy.temperature = 1.0


def test_entropy_is_that_of_the_sampling_distribution(learner: Learner) -> None:
    batch, _, _ = next(packed(learner, 4096))
    hidden = torch.randn(5, learner.policy.hf.config.text_config.hidden_size)
    with torch.no_grad():
        _, entropy = learner.policy._score(hidden, batch.target[:5])
        logits = learner.policy.hf.lm_head(hidden)
        logits[:, list(BANNED)] = -torch.inf
        expected = torch.distributions.Categorical(logits=logits).entropy()
    assert torch.allclose(entropy, expected, atol=1e-5)


def test_chunks_change_nothing_but_memory(learner: Learner) -> None:
    batch, patches, grids = next(packed(learner, 4096))
    found = []
    for chunk in (100_000, 37):
        learner.policy.chunk = chunk
        learner.policy.zero_grad()
        logp, entropy = learner.policy(batch, patches, grids)
        logp.sum().backward()
        gradient = torch.cat([p.grad.flatten() for p in learner.policy.parameters() if p.grad is not None])
        found.append((logp.detach(), entropy, gradient))
    learner.policy.zero_grad()
    for whole, parts in zip(*found, strict=True):
        assert float((whole - parts).norm() / whole.norm()) < 1e-5


def test_the_vision_tower_runs_once_for_each_distinct_picture(learner: Learner) -> None:
    seen: list[Tensor] = []
    hook = learner.policy.hf.model.visual.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["grid_thw"]), with_kwargs=True
    )
    for batch, patches, grids in packed(learner, 100_000):
        learner.policy(batch, patches, grids)
        assert len(seen.pop()) == len(batch.images) < sum(len(row.images) for row in batch.rows)
    hook.remove()


def test_a_frozen_vision_tower_gets_no_gradient(policy_folder: Path, learner: Learner) -> None:
    config = Config()
    config.policy.freeze_vision = True
    policy = load_policy(policy_folder, config, BANNED)
    batch, patches, grids = next(packed(learner, 4096))
    policy(batch, patches, grids)[0].sum().backward()
    assert all(p.grad is None for p in policy.hf.model.visual.parameters())
    assert all(p.grad is not None for p in policy.hf.model.language_model.layers.parameters())


def test_gradient_checkpointing_changes_no_gradient(policy_folder: Path, learner: Learner) -> None:
    config = Config()
    config.learner.gradient_checkpointing = True
    saving = load_policy(policy_folder, config, BANNED)
    plain = load_policy(policy_folder, Config(), BANNED)
    batch, patches, grids = next(packed(learner, 4096))
    saved: list[int] = []
    for policy in (saving, plain):
        size = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal size
            size += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            logp = policy(batch, patches, grids)[0]
        saved.append(size)
        logp.sum().backward()
    assert saved[0] < saved[1] / 2
    pairs = zip(saving.parameters(), plain.parameters(), strict=True)
    assert all(torch.allclose(a.grad, b.grad, rtol=1e-4, atol=1e-5) for a, b in pairs)


def test_weights_have_the_names_and_values_of_the_checkpoint(policy_folder: Path, learner: Learner) -> None:
    found = dict(named_weights(learner.policy, torch.float32))
    on_disk = load_file(policy_folder / "model.safetensors")
    assert found.keys() == on_disk.keys()
    assert all(torch.equal(found[name], on_disk[name]) for name in on_disk)
    assert {value.dtype for _, value in named_weights(learner.policy, torch.bfloat16)} == {torch.bfloat16}


def test_what_is_no_policy_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be trained") as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}')
    with pytest.raises(ValueError, match=r"cannot be trained: Unrecognized configuration class .*GPT2Config"):
        load_model(tmp_path)


def reference_varlen(
    q: Tensor, k: Tensor, v: Tensor, cu_q: Tensor, cu_k: Tensor, *_: int, softmax_scale: float, causal: bool = False
) -> Tensor:
    """FlashAttention's varlen function as its documentation defines it: bottom-right causal, grouped-query."""
    out = []
    for a, b, c, d in zip(cu_q[:-1], cu_q[1:], cu_k[:-1], cu_k[1:], strict=True):
        keys, values = (t[c:d].repeat_interleave(q.shape[1] // k.shape[1], 1) for t in (k, v))
        scores = torch.einsum("qhd,khd->hqk", q[a:b], keys) * softmax_scale
        if causal:
            scores = scores.masked_fill(~torch.ones_like(scores, dtype=torch.bool).tril(int(d - c - b + a)), -1e30)
        out.append(torch.einsum("hqk,khd->qhd", scores.softmax(-1), values))
    return torch.cat(out)


def torch_reference(grouped: bool) -> Callable[..., Tensor]:
    """torch's varlen_attn as its documentation defines it; a call that its signature does not take raises. torch 2.11
    takes no `enable_gqa`."""
    from torch.nn.attention import varlen

    known = inspect.signature(varlen.varlen_attn)
    if not grouped:
        known = known.replace(parameters=[p for name, p in known.parameters.items() if name != "enable_gqa"])

    def call(*args: Any, **options: Any) -> Tensor:
        bound = known.bind(*args, **options)
        bound.apply_defaults()
        given = bound.arguments
        assert given.get("enable_gqa") or given["query"].shape[1] == given["key"].shape[1]
        assert given["cu_seq_q"].dtype == given["cu_seq_k"].dtype == torch.int32
        causal = {(-1, 0): True, (-1, -1): False}[given["window_size"]]
        rows = [given[name] for name in ("query", "key", "value", "cu_seq_q", "cu_seq_k")]
        assert given["max_q"] == int(rows[3].diff().max()) and given["max_k"] == int(rows[4].diff().max())
        return reference_varlen(*rows, softmax_scale=given["scale"], causal=causal)

    call.__signature__ = known  # type: ignore[attr-defined]
    return call


@pytest.mark.parametrize(
    ("kernel", "grouped"),
    [(attention.flash_attention, True), (attention.torch_varlen, True), (attention.torch_varlen, False)],
)
def test_kernels_for_packed_rows_are_asked_for_the_same_attention(
    kernel: attention.Kernel, grouped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against SDPA, segment by segment: with shared prompts and grouped keys, and over the vision tower's windows."""
    monkeypatch.setattr(attention, "flash_attn_varlen_func", reference_varlen)
    monkeypatch.setattr(attention, "varlen_attn", torch_reference(grouped))
    layout = Layout((Segment(0, 4), Segment(4, 9, 0, 4), Segment(9, 11, 0, 4), Segment(11, 18)))
    q, k, v = torch.randn(1, 4, 18, 8), torch.randn(1, 2, 18, 8), torch.randn(1, 2, 18, 8)
    windows, keys = torch.tensor([0, 4, 12, 16, 18]), [torch.randn(1, 4, 18, 8) for _ in range(2)]

    def both() -> list[Tensor]:
        text = attention.packed_attention(torch.nn.Module(), q, k, v, None, 0.3, layout=layout)[0]
        return [text, attention.packed_attention(torch.nn.Module(), q, *keys, None, 0.3, cu_seq_lens_q=windows)[0]]

    eager = both()
    monkeypatch.setattr(attention, "kernel", lambda _: kernel)
    for one, other in zip(eager, both(), strict=True):
        assert one.shape == (1, 18, 4, 8) and torch.allclose(one, other, atol=1e-5)


def test_a_layouts_tensors_are_made_once_also_where_fsdp_casts_what_a_layer_is_given() -> None:
    from torch.distributed.utils import _apply_to_tensors

    layout = Layout((Segment(0, 4), Segment(4, 9, 0, 4)))
    first = layout.packed(torch.device("cpu"))
    passed = _apply_to_tensors(lambda t: t.bfloat16(), {"layout": layout, "hidden": torch.zeros(2)})["layout"]
    assert passed.packed(torch.device("cpu")) is first


def test_policy_is_a_module_fsdp_can_wrap(learner: Learner) -> None:
    layers = {type(m).__name__ for m in learner.policy.modules()}
    assert isinstance(learner.policy, Policy)
    assert set(learner.policy.hf._no_split_modules) <= layers
