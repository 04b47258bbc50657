"""Low-rank adapters (LoRA, arXiv 2106.09685) in the language model, by peft.

Guarantees: outside of here nothing knows of them: `plain` gives the model's weights under its own names, `added` those
with their adapters, and `disabled` is the model without them, which is the reference of a KL term.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.distributed.tensor import DTensor

TARGETS = (  # of the text model, whatever it is called
    r"(?!.*(visual|vision|projector|connector)).*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|gate_up_proj|down_proj)"
)


def add(model: nn.Module, rank: int, alpha: int) -> None:
    """Put adapters of `rank`, scaled by alpha / rank, on every linear layer of the language model; freeze the rest, and
    with it routed experts, whose matrices are one tensor and no layers."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise ValueError(f"learner.lora_rank={rank} needs peft: pip install peft") from None

    model.requires_grad_(False)
    # Inside a module without a `config` peft takes the targets as they are. With one it reads them as leaf names in
    # some families with experts: towers would get adapters, and experts some that `added` does not know.
    settings = LoraConfig(r=rank, lora_alpha=alpha, target_modules=TARGETS, lora_dropout=0.0)
    inject_adapter_in_model(settings, nn.ModuleList([model]))


def _layers(model: nn.Module) -> dict[str, Any]:
    if not any(".lora_" in name for name, _ in model.named_parameters()):
        return {}  # peft is not needed, nor imported
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def plain(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of the model without adapters, under its own names; nothing is copied or gathered."""
    state = {}
    for name, value in model.state_dict().items():
        if ".lora_" not in name:
            state[name.replace(".base_layer.", ".")] = value
    return state


def added(model: nn.Module) -> dict[str, Callable[[], Tensor]]:
    """For each weight of `plain` that has an adapter, what makes the sum of both: a full float32 tensor, gathered from
    its shards. One at a time, or all of a model's weights would lie in memory once more."""
    return {f"{name}.weight": partial(_sum, layer) for name, layer in _layers(model).items()}


def _sum(layer: Any) -> Tensor:
    up, down = (_full(getattr(layer, part)["default"].weight) for part in ("lora_B", "lora_A"))
    return _full(layer.base_layer.weight) + layer.scaling["default"] * (up @ down)


def _full(value: Tensor) -> Tensor:
    return value.full_tensor() if isinstance(value, DTensor) else value


@contextmanager
def disabled(model: nn.Module) -> Iterator[None]:
    """Inside the block the adapters do nothing."""
    layers = _layers(model).values()
    trained = [p for layer in layers for p in layer.parameters() if p.requires_grad]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
        for parameter in trained:
            parameter.requires_grad_(True)
