"""Guarantees that torchvision imports after the packages are installed.

Run by `make setup` as `python -m configs.environment`; a second run changes nothing. A step that cannot be done ends in
one line that says what to install by hand. What is no Python package is `configs.system`'s.
"""

import contextlib
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
PROBE = "from transformers import Qwen2_5_VLProcessor; import torchvision.transforms.v2"


def torchvision_imports() -> bool:
    return subprocess.run([sys.executable, "-c", PROBE], capture_output=True, timeout=300).returncode == 0


def drop_broken_audio() -> str:
    """vLLM pulls in torchaudio and torchcodec, which rrvf never uses; transformers imports them when they are there,
    and their CUDA builds do not load beside a CPU torch."""
    probe = "import importlib.util as u; u.find_spec('torchaudio') and __import__('torchaudio')"
    if subprocess.run([sys.executable, "-c", probe], capture_output=True, timeout=300).returncode == 0:
        return "torchaudio absent or sound"
    subprocess.run([sys.executable, "-m", "pip", "uninstall", "-q", "-y", "torchaudio", "torchcodec"], timeout=300)
    return "torchaudio removed (a CUDA build beside a CPU torch)"


def fix_torchvision() -> str:
    """Prefer the matching CPU wheel; where its index cannot be reached, declare the two operators instead."""
    if torchvision_imports():
        return "torchvision imports"
    wheel = f"torchvision=={version('torchvision').split('+')[0]}"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--force-reinstall", "--retries", "0"]
    with contextlib.suppress(subprocess.TimeoutExpired):  # the hook below does the same service
        subprocess.run([*pip, "--timeout", "10", "--index-url", CPU_WHEELS, wheel], capture_output=True, timeout=180)
    if torchvision_imports():
        return "torchvision: CPU wheel installed"
    site = Path(sysconfig.get_paths()["purelib"])
    shutil.copy(Path(__file__).with_name("torchvision_ops.py"), site / "rrvf_torchvision_ops.py")
    (site / "rrvf_torchvision_ops.pth").write_text("import rrvf_torchvision_ops\n")
    if torchvision_imports():
        return "torchvision: operator schemas declared by a .pth hook"
    raise SystemExit(
        f"torchvision does not import; install its CPU build: pip install {wheel} --index-url {CPU_WHEELS}"
    )


if __name__ == "__main__":
    print("set-up:", drop_broken_audio(), flush=True)
    print("set-up:", fix_torchvision(), flush=True)
