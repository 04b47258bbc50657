"""The main job, end to end, with every real part: killed, resumed, submitted, served."""

import fcntl
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos import Chaos
from tests.interpreter import interpreter, ray_command
from training.data.synthetic_charts import ATTRIBUTES
from training.run.ledger_summary import read

ROOT = Path(__file__).parents[3]
SMALL = [
    "configs/tiny_chart.yaml",
    "data.count=24",
    "evaluate.count=4",
    "rollout.group_size=4",
    "rollout.concurrency=4",
    "queue.groups_per_step=2",
    "queue.drop_zero_variance=false",  # so brief a start may give members equal rewards
]
KILLED, SERVED = f"killed-{os.getpid()}", f"served-{os.getpid()}"  # what their processes carry


def processes_of(marker: str) -> list[int]:
    """Pids of living processes that carry RRVF_TEST=marker in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes()
                state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if f"RRVF_TEST={marker}\0".encode() in environment and state != "Z":
                found.append(int(entry.name))
    return found


def wait_until(what: str, check: object, limit: float) -> None:
    deadline = time.monotonic() + limit
    while not check():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"{what}: not within {limit} s"
        time.sleep(0.3)


def start(arguments: list[str], log: Path, marker: str) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | {"RRVF_TEST": marker},
            start_new_session=True,
        )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run whose queue, policy actor and driver were killed in turn, resumed, and finished: its folder, and a log."""
    chaos = Chaos(tmp_path_factory.mktemp("runs"), [*SMALL, "run.checkpoint_every=2"], 5, KILLED)
    chaos.start()
    try:
        for kind in ("queue", "policy actor", "driver"):
            chaos.await_steps(1)
            chaos.kill(kind, random.Random(0))
        chaos.finish()
        assert chaos.lives == 2, "only the death of the driver ends a life"
    finally:
        chaos.close()
    # Two agents of Ray wait a minute for the control store that died with the driver, and leave then.
    wait_until("the end of every process of the run", lambda: not processes_of(KILLED), 120)
    return chaos.run, chaos.log


def test_a_killed_run_resumes_with_no_prompt_lost_or_trained_twice(finished: tuple[Path, Path]) -> None:
    run, _ = finished
    entries = read(run)
    consumed = [e for e in entries if e.state == "consumed"]
    assert Counter(e.step for e in consumed) == dict.fromkeys(range(5), 2)
    assert [e.group for e in entries] == list(range(len(entries)))
    assert max(Counter(e.prompt for e in consumed).values()) == 1  # 10 of 24 prompts, none twice
    assert not [e for e in entries if e.state == "running" and e.worker == ""]
    lost = [e.prompt for e in entries if e.state == "lost"]
    later = Counter(e.prompt for e in entries)
    assert all(later[p] > 1 for p in lost)


def test_the_ledger_and_the_staleness_bound_hold(finished: tuple[Path, Path]) -> None:
    run, _ = finished
    for entry in read(run):
        if entry.state == "consumed":
            assert 0 <= entry.step - entry.oldest <= 2
            assert len(entry.members) == 4


def test_what_a_run_leaves_behind(finished: tuple[Path, Path]) -> None:
    run, log = finished
    summary = json.loads((run / "summary.json").read_text())
    assert summary["steps"] == 5 and summary["weight_versions"] == 5
    assert summary["staleness"]["max"] <= summary["staleness"]["bound"] == 2
    for key in ("trajectories", "wall_s", "setup_s", "reward", "changes", "mismatch_k3", "engine"):
        assert summary[key] is not None
    for side in ("before", "after"):
        found = summary["evaluation"]["heldout"]["greedy"][side]
        assert 0 <= found["exec_rate"] <= 1 and set(found["read"]) == set(found["chance"]) == set(ATTRIBUTES)
    assert set(summary["ledger"]) >= {"consumed", "stale", "zero_variance", "failed"}
    for name in ("config.yaml", "metrics.jsonl", "summary.md", "reward.png", "before_after.png", "advantages.jsonl"):
        assert (run / name).stat().st_size > 0
    played = [json.loads(line) for path in run.glob("trajectories/*.jsonl") for line in path.open()]
    assert {e.group for e in read(run) if e.state == "consumed"} <= {g["group"] for g in played}
    assert list(run.glob("tensorboard/*events*")) and list(run.glob("pictures/*.png"))
    assert (run.parent / "latest").resolve() == run
    text = log.read_text()
    assert "step    5/5" in text and "ETA" in text


def test_engine_and_learner_agree_in_the_run(finished: tuple[Path, Path]) -> None:
    run, _ = finished
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows] == [1, 2, 3, 4, 5]
    first = rows[0]
    assert first["staleness_max"] == 0 and first["mismatch_max"] < 1e-3


def test_a_checkpoint_is_a_hugging_face_folder(finished: tuple[Path, Path]) -> None:
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from configs.runs import latest

    checkpoint = latest(finished[0])
    assert checkpoint is not None and checkpoint.name == "step_000005"
    model = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32)
    assert all(torch.isfinite(p).all() for p in model.parameters())
    AutoProcessor.from_pretrained(checkpoint)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(url: str, body: object = None, raw: bytes | None = None, kind: str = "application/json") -> tuple[int, dict]:
    data = raw if raw is not None else (None if body is None else json.dumps(body).encode())
    request = urllib.request.Request(url, data=data, headers={"content-type": kind})
    try:
        with urllib.request.urlopen(request, timeout=90) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.fixture(scope="module")
def server(finished: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`make serve` on the newest checkpoint of the run."""
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    port = free_port()
    options = [f"run.dir={finished[0].parent}", f"http.port={port}"]
    process = start(["serving.app", "configs/tiny_chart.yaml", *options], log, SERVED)
    try:
        wait_until("serve", lambda: process.poll() is not None or "ready: http" in log.read_text(), 420)
        assert process.poll() is None, log.read_text()[-3000:]
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        wait_until("the end of the server's processes", lambda: not processes_of(SERVED), 30)


def test_endpoints_over_http(server: str, finished: tuple[Path, Path]) -> None:
    import base64

    image = next((finished[0] / "pictures").glob("*.png")).read_bytes()
    text = base64.b64encode(image).decode()
    status, health = ask(f"{server}/health")
    assert status == 200 and health["status"] == "ok" and health["model"].endswith("step_000005")
    assert "limits" in health["renderer"]["layers"] and health["judge"]["asked"] == 0
    program = "import matplotlib.pyplot as plt\nplt.bar([1,2],[3,4])\n"
    status, render = ask(f"{server}/render", {"source": program})
    assert status == 200 and render["ok"] and base64.b64decode(render["png"])[:4] == b"\x89PNG"
    status, failed = ask(f"{server}/render", raw=b"1/0", kind="text/plain")
    assert status == 200 and failed["kind"] == "exception" and "ZeroDivisionError" in failed["message"]
    status, verdict = ask(f"{server}/judge", {"target": text, "render": text})
    assert status == 200 and verdict["score"] == 1.0
    for turns in (1, 2):
        status, found = ask(f"{server}/v1/image-to-code", {"image": text, "turns": turns})
        assert status == 200 and 1 <= len(found["turns"]) <= turns
    status, found = ask(f"{server}/v1/image-to-code", raw=image, kind="image/png")
    assert status == 200 and len(found["turns"]) == 1


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/v1/image-to-code", {"image": "!!"}, "bad_image"),
        ("/v1/image-to-code", {"image": "aGVsbG8="}, "bad_image"),
        ("/v1/image-to-code", {}, "no_image"),
        ("/v1/image-to-code", [1], "not_json"),
        ("/render", {"source": ""}, "no_source"),
        ("/render", {"source": "x", "domain": "poem"}, "bad_domain"),
        ("/judge", {"target": "aGVsbG8="}, "no_image"),
        ("/judge", {"target": "aGVsbG8=", "render": "aGVsbG8="}, "bad_image"),
    ],
)
def test_bad_requests_get_a_kind(server: str, path: str, body: object, kind: str) -> None:
    status, answer = ask(f"{server}{path}", body)
    assert status == 400 and answer["error"]["kind"] == kind


@pytest.fixture(scope="module")
def submitted(finished: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The finished run as if it had died while it was measured, resumed by `ray job submit`: its folder, its log."""
    folder = tmp_path_factory.mktemp("submitted")
    run = folder / "runs" / "measured"
    shutil.copytree(finished[0], run, symlinks=True)
    for name in ("summary.json", "summary.md", "evaluation_after.pkl"):
        (run / name).unlink()
    ports = {
        name: free_port()
        for name in ("port", "dashboard-port", "dashboard-agent-listen-port", "ray-client-server-port")
    }
    environment = os.environ | {
        "RRVF_TEST": "submitted",
        "RAY_AUTH_MODE": "disabled",
        "PATH": f"{Path(interpreter()).parent}:{os.environ['PATH']}",
    }
    environment.pop("RAY_ADDRESS", None)
    log = (folder / "head.txt").open("wb")
    options = [f"--{name}={port}" for name, port in ports.items()]
    head = subprocess.Popen(
        [*ray_command(), "start", "--head", "--block", "--num-cpus=8", "--node-ip-address=127.0.0.1", *options],
        stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True,
    )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{ports['dashboard-port']}"

        def up() -> bool:
            try:
                return urllib.request.urlopen(f"{address}/api/version", timeout=2).status == 200
            except OSError:
                return False

        wait_until("the dashboard", up, 90)
        job = subprocess.run(
            [
                *ray_command(), "job", "submit", "--address", address, "--working-dir", str(ROOT), "--",
                interpreter(), "-m", "training.train", "--resume", str(run),
            ],
            capture_output=True, text=True, timeout=600, env=environment,
        )  # fmt: skip
        assert job.returncode == 0, (job.stdout + job.stderr)[-3000:]
        return run, job.stdout
    finally:
        os.killpg(head.pid, signal.SIGTERM)
        head.wait(timeout=60)
        log.close()
        wait_until("the end of the cluster", lambda: not processes_of("submitted"), 60)


def test_a_job_can_be_submitted_to_a_cluster(submitted: tuple[Path, str]) -> None:
    """`ray job submit` against a head of our own; its log streams and the run's folder is complete."""
    run, log = submitted
    assert "# 5 steps" in log and f"run: {run}" in log
    for name in ("summary.json", "summary.md", "before_after.png"):
        assert (run / name).stat().st_size > 0


def test_a_run_that_died_while_it_was_measured_is_measured_on_resume(
    finished: tuple[Path, Path], submitted: tuple[Path, str]
) -> None:
    run, _ = submitted
    kept = json.loads((run / "summary.json").read_text())
    assert kept["steps"] == 5 and 0 <= kept["evaluation"]["heldout"]["sampled"]["after"]["exec_rate"] <= 1
    consumed, before = ([e for e in read(folder) if e.state == "consumed"] for folder in (run, finished[0]))
    assert consumed == before
    again = subprocess.run(
        [sys.executable, "-m", "training.train", "--resume", str(run)],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert again.returncode == 2 and "a longer run" in again.stderr


def test_the_first_interrupt_stops_cleanly_and_says_how_to_resume(finished: tuple[Path, Path], tmp_path: Path) -> None:
    model = finished[0] / "checkpoints" / "step_000005"
    options = [f"run.dir={tmp_path}", f"policy.path={model}", "run.steps=50", "evaluate.before_after=false"]
    log = tmp_path / "log.txt"
    driver = start(["training.train", *SMALL, *options], log, "interrupted")
    try:
        wait_until("a step", lambda: driver.poll() is not None or "step    1/50" in log.read_text(), 420)
        driver.send_signal(signal.SIGINT)
        assert driver.wait(timeout=120) == 0, log.read_text()[-3000:]
    finally:
        if driver.poll() is None:
            driver.kill()
    text = log.read_text()
    assert "stopping after this step" in text and "python -m training.train --resume" in text
    assert list((tmp_path / "tiny_chart" / "checkpoints").glob("step_*"))
    wait_until("the end of its processes", lambda: not processes_of("interrupted"), 30)


def test_a_run_that_is_under_way_is_not_taken_up_by_another(finished: tuple[Path, Path]) -> None:
    run, _ = finished
    (run / "STOP").touch()  # asked to end
    with (run / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            [sys.executable, "-m", "training.train", "--resume", str(run), "run.steps=9"],
            cwd=ROOT, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    assert done.returncode == 2 and "is under way in another process" in done.stderr
    (run / "STOP").unlink()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["configs/tiny_chart.yaml", "queue.max_stalenes=1"], "did you mean `queue.max_staleness`?"),
        (["configs/tiny_chart.yaml", "policy.path=/nowhere"], "no model there"),
        (["configs/tiny_chart.yaml", "data.images=/nowhere"], "no such folder"),
        (["configs/tiny_chart.yaml", "cluster.logical_cpus=1"], "raise cluster.logical_cpus=1"),
        (["configs/absent.yaml"], "shipped ones"),
        (["configs/tiny_chart.yaml", "judge.url=http://localhost:1/v1"], "is asked with judge.backend=mllm only"),
        (["configs/tiny_chart.yaml", "judge.url=http://127.0.0.1:1/v1", "judge.backend=mllm"], "nobody answers there"),
        (["configs/tiny_chart.yaml", "cluster.address=127.0.0.1:1"], "nobody answers there"),
        (["--resume", "/nowhere"], "not a run's folder"),
        ([], "which config?"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], expected: str, tmp_path: Path) -> None:
    extra = [f"run.dir={tmp_path}"] if arguments and arguments[0].endswith("tiny_chart.yaml") else []
    done = subprocess.run(
        [sys.executable, "-m", "training.train", *arguments, *extra],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and expected in lines[0], done.stderr[-2000:]


def test_dry_run_prints_config_plan_and_problems() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "training.train", "configs/chart_7b.yaml", "--dry-run", "data.images=/nowhere"],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert "Qwen/Qwen2.5-VL-72B-Instruct" in done.stdout and "problem: this config needs 16 GPUs" in done.stdout
    assert "groups_per_step: 32" in done.stdout
