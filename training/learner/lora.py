"""Low-rank adapters (LoRA, arXiv 2106.09685) in the language model, by peft.

Guarantees: outside of here nothing knows of them: `merged` gives the plain model's weights with the adapters added in,
`disabled` is the model without them, which is the reference of a KL term.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.distributed.tensor import DTensor

TARGETS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"


def add(model: nn.Module, rank: int, alpha: int) -> None:
    """Put adapters of `rank`, scaled by alpha / rank, on every linear layer of the language model; freeze the rest."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise ValueError(f"learner.lora_rank={rank} needs peft: pip install peft") from None

    model.requires_grad_(False)
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=TARGETS, lora_dropout=0.0), model)


def _layers(model: nn.Module) -> dict[str, Any]:
    if not any(".lora_" in name for name, _ in model.named_parameters()):
        return {}  # peft is not needed, nor imported
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def merged(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of the plain model, adapters merged. Sharded tensors are gathered where an adapter is added."""
    layers = _layers(model)
    state = {}
    for name, value in model.state_dict().items():
        if ".lora_" in name:
            continue
        if ".base_layer." in name:
            owner, kind = name.split(".base_layer.")
            if kind == "weight":
                layer = layers[owner]
                up, down = (_full(getattr(layer, part)["default"].weight) for part in ("lora_B", "lora_A"))
                value = _full(value) + layer.scaling["default"] * (up @ down)
            name = f"{owner}.{kind}"
        state[name] = value
    return state


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
