"""Guarantees that `import torchvision` works beside a CPU build of torch.

The torchvision wheel of the general package index is built for CUDA. Beside a CPU torch its C++ library does not
load, and its Python half then fails while it registers shape functions for two operators that do not exist. Nothing in
rrvf calls those operators, so declaring their schemas is enough. `configs.environment` copies this file into
site-packages, with a `.pth` line that imports it, only where torchvision does not import otherwise.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


class DeclareBeforeTorchvision(importlib.abc.MetaPathFinder):
    """Declares the missing schemas the first time torchvision is looked up, then steps aside."""

    library: object = None  # a torch.library fragment lives as long as the object that made it

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            import torch

            library = torch.library.Library("torchvision", "FRAGMENT")
            for schema in SCHEMAS:
                library.define(schema)
            type(self).library = library
        return None


if "torchvision" not in sys.modules:
    sys.meta_path.insert(0, DeclareBeforeTorchvision())
