"""Our weight-transfer engine for vLLM on CPUs: a checkpoint in shared memory, built into a second set of layers.

Guarantees: the file is verified against its checksum before a tensor of it is used; weights go through vLLM's own
layer-wise reload, so a synced engine equals a freshly loaded one; and the reload works on a shadow of the model while
the engine goes on generating: what is left for the pause is an exchange of references, whatever the model's size. The
price is a second copy of the weights. On GPUs vLLM's built-in engines do this job.

vLLM finds `register` through the `vllm.general_plugins` entry point, in its core process as well as in ours.
"""

import copy
import mmap
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from vllm.config import set_current_vllm_config
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory

from actors.engine.build import SHARED_MEMORY
from actors.restart import die_with_parent

EXCHANGED = ("_parameters", "_buffers", "cpu_linear")  # what loading and vLLM's packing for CPUs put into a layer
ABSENT = object()


@dataclass
class InitInfo(WeightTransferInitInfo):
    """Nothing to agree on: every update names its own file."""


@dataclass
class UpdateInfo(WeightTransferUpdateInfo):
    """A safetensors file of checkpoint-named tensors on this host, and its CRC-32. When the shadow holds it, the file
    `path`.done appears; it is empty, or says what went wrong."""

    path: str
    crc32: int


class SharedMemoryEngine(WeightTransferEngine[InitInfo, UpdateInfo]):
    init_info_cls = InitInfo
    update_info_cls = UpdateInfo

    def init_transfer_engine(self, init_info: InitInfo) -> None:
        self._shadow = shadow_of(self.model)
        self._loaded = False

    def start_weight_update(self) -> None:
        self._loaded = False

    def receive_weights(self, update_info: UpdateInfo) -> None:
        """Begin to load; the engine may generate meanwhile."""
        threading.Thread(target=self._load, args=(update_info,), name="weights", daemon=True).start()

    def finish_weight_update(self) -> None:
        """Exchange the layers' tensors with the shadow's. Raises RuntimeError where it holds no new ones."""
        if not self._loaded:
            raise RuntimeError("no weights have been loaded since the update began")
        for layer, other in zip(self.model.modules(), self._shadow.modules(), strict=True):
            mine, theirs = layer.__dict__, other.__dict__
            for name in EXCHANGED:
                given, taken = mine.pop(name, ABSENT), theirs.pop(name, ABSENT)
                if taken is not ABSENT:
                    mine[name] = taken
                if given is not ABSENT:
                    theirs[name] = given
        self._loaded = False

    def shutdown(self) -> None:
        pass

    def _load(self, info: UpdateInfo) -> None:
        message = ""
        try:
            with torch.no_grad(), set_current_vllm_config(self.vllm_config):
                self._fill(info)
            self._loaded = True
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
        Path(f"{info.path}.done").write_text(message)

    def _fill(self, info: UpdateInfo) -> None:
        from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

        with open(info.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if (found := zlib.crc32(data)) != info.crc32:
                raise ValueError(f"weights arrived damaged: CRC-32 {found:08x}, sent {info.crc32:08x}")
        initialize_layerwise_reload(self._shadow)
        self._shadow.load_weights(load_file(info.path).items())
        finalize_layerwise_reload(self._shadow, self.model_config)
        repack(self._shadow)


def repack(model: nn.Module) -> None:
    """Make anew what vLLM's reload leaves as it was on CPUs: the packed copies of (tied) heads and of experts."""
    from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding

    for layer in model.modules():
        method: Any = getattr(layer, "quant_method", None)
        if isinstance(layer, VocabParallelEmbedding):
            method.process_weights_after_loading(layer)
        elif (kernel := getattr(method, "moe_kernel", None)) is not None:
            kernel.fused_experts.process_weights_after_loading(layer)


def shadow_of(module: nn.Module, known: dict[int, Any] | None = None) -> Any:
    """A copy of a model's tree of layers that has its own tensors and shares everything else (kernels, KV cache).

    `known` maps the ids of layers and tensors to their copies: one that appears twice in the model is copied once."""
    from vllm.model_executor.model_loader.reload.layerwise import LAYERWISE_INFO, LayerReloadingInfo

    known = {} if known is None else known
    if id(module) in known:
        return known[id(module)]
    other = known[id(module)] = copy.copy(module)
    other._modules = {n: m if m is None else shadow_of(m, known) for n, m in module._modules.items()}
    for kind in ("_parameters", "_buffers"):
        held = getattr(module, kind).items()
        setattr(other, kind, {n: t if t is None else known.setdefault(id(t), _twin(t)) for n, t in held})
    info = LAYERWISE_INFO[module]
    LAYERWISE_INFO[other] = LayerReloadingInfo(info.restore_metadata, info.restore_device)
    return other


def _twin(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of a parameter or buffer with vLLM's attributes (its loader, its sharding)."""
    twin = tensor.data.clone()
    twin.__class__ = tensor.__class__
    twin.__dict__ = tensor.__dict__.copy()
    return twin


def register() -> None:
    """vLLM's plug-in hook; vLLM calls it in each of its processes. It registers our transfer engine, and it ends an
    engine core when its actor dies (without it, the core of a killed actor lives on)."""
    die_with_parent()
    if SHARED_MEMORY not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine(SHARED_MEMORY, SharedMemoryEngine)
