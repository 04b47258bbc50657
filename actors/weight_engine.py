"""Our weight-transfer engine for vLLM on CPUs: a checkpoint in shared memory, loaded into the running model.

Guarantees: the file is verified against its checksum before a single tensor is loaded, and weights go through vLLM's
own layer-wise reload, so a synced engine equals a freshly loaded one. On GPUs vLLM's built-in engines do this job.

vLLM finds `register` through the `vllm.general_plugins` entry point, in its core process as well as in ours.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory

from actors.engine import SHARED_MEMORY


@dataclass
class InitInfo(WeightTransferInitInfo):
    """Nothing to agree on: every update names its own file."""


@dataclass
class UpdateInfo(WeightTransferUpdateInfo):
    """A safetensors file of checkpoint-named tensors on this host, and its CRC-32."""

    path: str
    crc32: int


class SharedMemoryEngine(WeightTransferEngine[InitInfo, UpdateInfo]):
    init_info_cls = InitInfo
    update_info_cls = UpdateInfo

    def init_transfer_engine(self, init_info: InitInfo) -> None:
        pass

    def start_weight_update(self) -> None:
        from vllm.model_executor.model_loader.reload import initialize_layerwise_reload

        initialize_layerwise_reload(self.model)

    def receive_weights(self, update_info: UpdateInfo) -> None:
        data = Path(update_info.path).read_bytes()
        if (found := zlib.crc32(data)) != update_info.crc32:
            raise ValueError(f"weights arrived damaged: CRC-32 {found:08x}, sent {update_info.crc32:08x}")
        self.model.load_weights(load(data).items())  # type: ignore[operator]

    def finish_weight_update(self) -> None:
        from vllm.model_executor.model_loader.reload import finalize_layerwise_reload

        finalize_layerwise_reload(self.model, self.model_config)

    def shutdown(self) -> None:
        pass


def register() -> None:
    if SHARED_MEMORY not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine(SHARED_MEMORY, SharedMemoryEngine)
