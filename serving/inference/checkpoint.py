"""Which checkpoint an engine may take, and its weights as the engine takes them.

Guarantees: a folder is served only where it is whole and has the same tensors and tokenizer as the model in use; a peft
adapter is merged once, into a folder of its own that is complete or absent.
"""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file

CACHE = Path(".cache/rrvf")


def shapes(folder: Path) -> dict[str, list[int]]:
    """Shape of every tensor of a checkpoint, from the files' heads."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            found.update({name: file.get_slice(name).get_shape() for name in file.keys()})  # noqa: SIM118
    return found


def check(model: str, like: str) -> None:
    """Raises ValueError, one line, where folder `model` cannot take the place of `like` (a folder or a hub name)."""
    folder, other = Path(model), Path(like)
    if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
        raise ValueError(f"{model}: no checkpoint there (config.json and *.safetensors)")
    try:
        tensors = shapes(folder)
    except Exception as error:
        raise ValueError(f"{model}: its weights cannot be read ({' '.join(str(error).split())[:100]})") from None
    if not other.is_dir():
        return
    if tensors != shapes(other):
        raise ValueError(f"{model}: not the same architecture as {like}; start another server for it")
    words = [path / "tokenizer.json" for path in (folder, other)]
    if all(w.is_file() for w in words) and words[0].read_bytes() != words[1].read_bytes():
        raise ValueError(f"{model}: its tokenizer is another than that of {like}; start another server for it")


def image(folder: str) -> np.ndarray:
    """All weights of a folder as one safetensors image (uint8)."""
    files = sorted(Path(folder).glob("*.safetensors"))
    if len(files) == 1:
        return np.fromfile(files[0], dtype=np.uint8)
    tensors = {name: tensor for path in files for name, tensor in load_file(path).items()}
    return np.frombuffer(save(tensors), dtype=np.uint8)


def with_adapter(model: str, adapter: str, cache: Path = CACHE) -> str:
    """Folder of `model` (folder or hub name) with the peft adapter of folder `adapter` merged in; `model` itself for an
    empty `adapter`. Raises ValueError, one line."""
    if not adapter:
        return model
    try:
        settings = json.loads((Path(adapter) / "adapter_config.json").read_text())
        deltas = load_file(Path(adapter) / "adapter_model.safetensors")
    except (OSError, ValueError) as error:
        raise ValueError(f"{adapter}: no peft adapter there ({' '.join(str(error).split())[:100]})") from None
    source = Path(model)
    if not source.is_dir():
        from huggingface_hub import snapshot_download

        source = Path(snapshot_download(model))
    key = hashlib.sha256(repr([(str(p.resolve()), p.stat().st_mtime_ns) for p in _files(source, adapter)]).encode())
    target = cache / f"merged-{key.hexdigest()[:12]}"
    if target.is_dir():
        return str(target)
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(source, part, ignore=shutil.ignore_patterns("*.safetensors", "*.bin", ".*"))
    _merge(source, part, deltas, settings, adapter)
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)
    return str(target)


def _files(source: Path, adapter: str) -> list[Path]:
    return sorted([*source.glob("*.safetensors"), *Path(adapter).glob("adapter_*")])


def _merge(
    source: Path, target: Path, deltas: dict[str, torch.Tensor], settings: dict[str, object], adapter: str
) -> None:
    """W + scale * B A, for every pair of factors; file by file, so that one file's weights are in memory at a time."""
    waiting = {name.removesuffix(".lora_A.weight") for name in deltas if name.endswith(".lora_A.weight")}
    scale = float(settings["lora_alpha"]) / int(settings["r"]) ** (0.5 if settings.get("use_rslora") else 1)  # type: ignore[call-overload, arg-type]
    for path in sorted(source.glob("*.safetensors")):
        tensors = load_file(path)
        for module in sorted(waiting):
            name = next((n for n in _names(module) if n in tensors), None)
            if name is None:
                continue
            up, down = (deltas[f"{module}.lora_{side}.weight"].float() for side in "BA")
            tensors[name] = (tensors[name].float() + scale * (up @ down)).to(tensors[name].dtype)
            waiting.discard(module)
        save_file(tensors, target / path.name, metadata={"format": "pt"})
    if waiting:
        raise ValueError(f"{adapter}: {sorted(waiting)[0]} is in the adapter and not in the model")


def _names(module: str) -> tuple[str, str]:
    """Names under which checkpoints of either layout keep what the adapter calls `module`."""
    name = module.removeprefix("base_model.model.")
    return f"{name}.weight", f"{name.replace('model.language_model.', 'model.')}.weight"
