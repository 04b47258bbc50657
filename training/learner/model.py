"""From packed tokens to log-probabilities: the policy model as the learner runs it.

Guarantees: `Policy.forward` gives log p(target | everything before it in its own trajectory), under the distribution
the engine samples from (banned ids excluded, logits divided by the temperature, float32); with an adapter of its family
(actors.families.adapters) the vision tower runs once per distinct picture, without one every trajectory goes through
the model's own forward pass, alone; logits exist only for sampled tokens and, beyond `chunk` of them, only a chunk at a
time, in the backward pass as well. `named_weights` yields full tensors under the names of a Hugging Face checkpoint.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from actors.families.adapters import adapter_of, tower
from configs.schema import Config
from training.learner import attention, lora
from training.learner.packing import MicroBatch

NEVER = -1e9  # a logit that e^x turns into 0; finite, so that 0 * logit stays 0 in the entropy
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Policy(nn.Module):
    """A vision-language model behind one forward pass that FSDP can wrap.

    `banned`: ids never sampled. `chunk`: sampled tokens whose logits exist at one time.
    """

    hf: Any
    forbidden: Tensor

    def __init__(
        self, model: Any, *, banned: Sequence[int], temperature: float, chunk: int, freeze_vision: bool
    ) -> None:
        super().__init__()
        self.hf = model
        self.temperature = temperature
        self.chunk = chunk
        self.freeze_vision = freeze_vision
        self.adapter = adapter_of(model.config.model_type)
        forbidden = torch.zeros(model.get_output_embeddings().out_features)
        forbidden[list(banned)] = NEVER
        self.register_buffer("forbidden", forbidden, persistent=False)

    def forward(
        self, batch: MicroBatch, patches: Tensor, grids: Tensor, inputs: Sequence[dict[str, Tensor]] = ()
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities (N,) and entropies (N,; no gradient), float32 nats, of a micro-batch whose distinct
        pictures are `patches` (sum of patches, patch size) with `grids` (pictures, 3); without an adapter `inputs` hold
        the pictures of each trajectory as the model's forward pass takes them."""
        states = self._whole(batch, inputs) if self.adapter is None else self._packed(batch, patches, grids)
        return self._score(states.index_select(0, batch.source), batch.target)

    def _packed(self, batch: MicroBatch, patches: Tensor, grids: Tensor) -> Tensor:
        """Last hidden states (T, d) of all trajectories at once."""
        assert self.adapter is not None
        core = self.hf.model
        hidden = core.get_input_embeddings()(batch.ids)
        more = dict(self.adapter.text_kwargs)
        if len(batch.slots):
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_vision):
                seen = self.adapter.see(core, patches, grids)
            hidden = hidden.index_copy(0, batch.slots, seen.features.to(hidden.dtype)[batch.features])
            if seen.deep:
                more["visual_pos_masks"] = torch.zeros_like(batch.ids, dtype=torch.bool).index_fill(
                    0, batch.slots, True
                )[None]
                more["deepstack_visual_embeds"] = [layer[batch.features] for layer in seen.deep]
        out = core.language_model(
            inputs_embeds=hidden[None],
            position_ids=batch.positions[:, None],
            use_cache=False,
            layout=batch.layout,
            **more,
        )
        return out.last_hidden_state[0]

    def _whole(self, batch: MicroBatch, inputs: Sequence[dict[str, Tensor]]) -> Tensor:
        """The same, one trajectory at a time."""
        states = []
        for segment, pictures in zip(batch.layout.segments, inputs, strict=True):
            ids = batch.ids[None, segment.start : segment.stop]
            states.append(self.hf.model(input_ids=ids, use_cache=False, **pictures).last_hidden_state[0])
        return torch.cat(states)

    def _score(self, hidden: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """In chunks; one chunk keeps its logits for the backward pass, several recompute them."""
        if len(target) <= self.chunk:
            return self._score_chunk(hidden, target)
        pairs = zip(hidden.split(self.chunk), target.split(self.chunk), strict=True)
        if torch.is_grad_enabled():
            done = [checkpoint(self._score_chunk, h, t, use_reentrant=False) for h, t in pairs]
        else:
            done = [self._score_chunk(h, t) for h, t in pairs]
        return torch.cat([logp for logp, _ in done]), torch.cat([entropy for _, entropy in done])

    def _score_chunk(self, hidden: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        logits = (self.hf.get_output_embeddings()(hidden).float() + self.forbidden) / self.temperature
        whole = logits.logsumexp(-1)
        logp = logits.gather(-1, target[:, None])[:, 0] - whole
        with torch.no_grad():
            shares = (logits - whole[:, None]).exp_()
            entropy = whole - (shares * logits).sum(-1)
        return logp, entropy


def load_model(path: str | Path) -> Any:
    """The vision-language model of a folder or hub name with float32 weights, and packed attention where its family has
    an adapter. Raises ValueError with one line when it cannot be loaded."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    attention.register()
    try:
        adapter = adapter_of(AutoConfig.from_pretrained(path).model_type)
        model = AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32)
        _back_to_disk(model)
        tower(model)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be trained: {str(error).splitlines()[0]}") from error
    if adapter is not None:
        # Not asked for in from_pretrained, which takes a name with "flash" in it for a kernel to look up.
        model.config._attn_implementation = attention.NAME
        adapter.prepare(model)
    return model


def _back_to_disk(model: Any) -> None:
    """Have transposed experts transposed back in checkpoints and syncs. transformers transposes them where the shape is
    not the model's own, which on the way back it always is (transformers 5.19, `Transpose.check_dims`)."""
    for conversion in getattr(model, "_weight_conversions", None) or ():
        for operation in getattr(conversion, "operations", ()):
            if getattr(operation, "check_dims", False):
                operation.check_dims = False


def load_policy(path: str | Path, config: Config, banned: Sequence[int]) -> Policy:
    """The policy at `path` as `config` wants it trained (frozen vision tower, gradient checkpointing)."""
    model = load_model(path)
    if config.learner.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if config.policy.freeze_vision:
        tower(model).requires_grad_(False)
    if config.learner.lora_rank:
        lora.add(model, config.learner.lora_rank, config.learner.lora_alpha)
    return Policy(
        model.train(),
        banned=banned,
        temperature=config.sampling.temperature,
        chunk=config.learner.logprob_chunk,
        freeze_vision=config.policy.freeze_vision or config.learner.lora_rank > 0,
    )


def named_weights(policy: Policy, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Full, unsharded weights in `dtype` under checkpoint names. Under FSDP every rank must iterate (it gathers).
    Shards are cast before they travel; adapters are merged one weight at a time."""
    plain = lora.plain(policy.hf)
    merge = {id(plain[name]): make for name, make in lora.added(policy.hf).items()}
    for name, value in _checkpoint_state(policy, plain).items():
        make = merge.get(id(value))
        yield name, make().detach().to(dtype) if make is not None else _gathered(value.detach().to(dtype))


def named_shapes(policy: Policy) -> list[tuple[str, tuple[int, ...]]]:
    """Names and full shapes of `named_weights`, in its order; nothing is gathered."""
    return [(name, tuple(value.shape)) for name, value in _checkpoint_state(policy, lora.plain(policy.hf)).items()]


def _gathered(value: Tensor) -> Tensor:
    from torch.distributed.tensor import DTensor

    return value.full_tensor() if isinstance(value, DTensor) else value


def _checkpoint_state(policy: Policy, plain: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of `lora.plain`, sharded as they are, under the names of the model's checkpoint; tied ones once."""
    from transformers.core_model_loading import revert_weight_conversion

    model: Any = policy.hf
    tied = set(model.all_tied_weights_keys)
    state = {name: value for name, value in plain.items() if name not in tied}
    return revert_weight_conversion(model, state)
