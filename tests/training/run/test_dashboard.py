"""The Grafana dashboard names metrics that exist: those of our parts, as Ray and the HTTP door really export them."""

import asyncio
import json
import re
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray

from actors import local_ray
from configs.schema import Judge, Render
from serving.http.metrics import Figures
from serving.judge.service import VisualJudge
from serving.render.service import Renders
from tests.serving.live import free_port

DASHBOARD = Path(__file__).parents[3] / "configs" / "grafana.json"
WORDS = {"sum", "by", "rate", "deriv", "histogram_quantile", "route", "status", "reason", "le", "m"}


def named() -> set[str]:
    """Every metric in an expression of the dashboard."""
    expressions = [t["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for t in panel["targets"]]
    assert len(expressions) > 30
    return {name for e in expressions for name in re.findall(r"[a-z_][a-z0-9_]*", e)} - WORDS


def gauges(part: str, figures: Mapping[str, Any]) -> set[str]:
    return {f"ray_rrvf_{part}_{key}" for key, value in figures.items() if isinstance(value, int | float)}


def test_every_metric_of_renderer_judge_and_door_exists() -> None:
    async def figures() -> tuple[dict[str, Any], dict[str, Any]]:
        renders, judge = Renders(Render()), VisualJudge(Judge())
        try:
            return renders.stats(), judge.stats()
        finally:
            await renders.close()
            await judge.close()

    render, judge = asyncio.run(figures())
    door = Figures()
    door.entered("/")
    door.left("/", 200, 0.1)
    door.refused("/", "overloaded", 503)
    http = set(re.findall(r"^([a-z_]+)\{", door.page().decode(), re.MULTILINE))
    exist = gauges("render", render) | gauges("judge", judge) | http
    ours = {name for name in named() if not name.startswith("ray_rrvf_train_")}
    assert len(ours) > 10 and ours <= exist, ours - exist


def test_a_gauge_is_exported_under_the_name_that_the_dashboard_uses() -> None:
    """As Prometheus sees it, from the metrics page of a running node."""

    @ray.remote(num_cpus=0)
    class Part:
        def show(self) -> None:
            from actors.gauges import export

            export("train", {"reward": 0.25, "words": "none"})

    port = free_port()
    local_ray.start(1, _metrics_export_port=port)
    try:
        part = Part.remote()
        deadline = time.monotonic() + 120
        while True:
            ray.get(part.show.remote(), timeout=60)
            try:
                page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
            except OSError:
                page = ""
            if found := re.findall(r"^(ray_rrvf_[a-z_]+)\{.*\} (\S+)$", page, re.MULTILINE):
                break
            assert time.monotonic() < deadline, "no gauge of ours within two minutes"
            time.sleep(0.5)
        assert found == [("ray_rrvf_train_reward", "0.25")]
    finally:
        ray.shutdown()
