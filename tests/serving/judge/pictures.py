"""Pictures of the chart set and their perturbed versions, made once and kept in `.cache/judge` until the edits do."""

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

from tests.data import real

ROOT = Path(__file__).resolve().parents[3]
EDITS = Path(__file__).with_name("edits.py")
CACHE = ROOT / ".cache" / "judge" / hashlib.sha256(EDITS.read_bytes()).hexdigest()[:12]

SINGLE = ("kind", "noise", "colour", "layout", "font", "title", "legend")
DOUBLE = tuple("+".join(pair) for pair in combinations(SINGLE, 2))
FOOLING = ("axes_only", "title_only", "sway", "rough", "rough+sway", "empty", "blank")
VERSIONS = ("base", *SINGLE, *DOUBLE, *FOOLING)


def names() -> list[str]:
    return sorted(path.stem for path in real("charts").glob("*.py"))


def _draw(name: str, versions: tuple[str, ...]) -> Path:
    folder = CACHE / name
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-m", "tests.serving.judge.edits", str(real("charts") / f"{name}.py"), str(folder), *versions],
        cwd=ROOT,
        env=environment,
        check=True,
        timeout=300,
        capture_output=True,
    )
    return folder


def base(name: str) -> bytes:
    """PNG bytes of the chart itself."""
    path = CACHE / name / "base.png"
    return (path if path.exists() else _draw(name, ("base",)) / "base.png").read_bytes()


def versions(name: str) -> dict[str, bytes]:
    """PNG bytes of every version of a chart that its script can show and that differs from the chart itself."""
    folder = CACHE / name
    if not (folder / "done").exists():
        (_draw(name, VERSIONS) / "done").touch()
    found = {path.stem: path.read_bytes() for path in folder.glob("*.png")}
    plain = found["base"]
    single = {n for n in SINGLE if n in found and found[n] != plain}
    keep = {"base", *FOOLING, *single, *(d for d in DOUBLE if set(d.split("+")) <= single)}
    return {n: data for n, data in found.items() if n in keep}


def all_versions(which: list[str], workers: int = 2) -> dict[str, dict[str, bytes]]:
    with ThreadPoolExecutor(workers) as pool:
        return dict(zip(which, pool.map(versions, which), strict=True))
