"""The shipped Serve files: each is one that Serve takes, and its builder builds."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from configs.load import load
from serving.app import build, services
from tests.serving.live import ROOT, Live

FILES = sorted((ROOT / "configs").glob("serve_*.yaml"))


def application(path: Path) -> dict[str, Any]:
    [found] = yaml.safe_load(path.read_text())["applications"]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_serve_takes_it_and_it_listens_on_loopback_alone(path: Path) -> None:
    found = ServeDeploySchema.model_validate(yaml.safe_load(path.read_text()))
    assert found.http_options.host == "127.0.0.1"


def names(app: Any) -> set[str]:
    """Deployments of a bound application, those it depends on included."""
    found, waiting = set(), [app]
    while waiting:
        node = waiting.pop()
        deployment = node._bound_deployment
        found.add(deployment.name)
        waiting += [a for a in deployment.init_args if hasattr(a, "_bound_deployment")]
    return found


def test_the_services_need_no_model() -> None:
    path = ROOT / "configs" / "serve_train_services.yaml"
    assert application(path)["import_path"] == "serving.app:services"
    assert names(services(application(path)["args"])) == {"Api", "RenderWorker", "VisualJudge"}


def test_the_inference_scales_between_its_bounds() -> None:
    args = application(ROOT / "configs" / "serve_inference.yaml")["args"] | {"model": "m", "inference.max_replicas": 3}
    app = build(args)
    assert names(app) == {"Api", "Inference", "RenderWorker", "VisualJudge"}
    engines = app._bound_deployment.init_args[1]._bound_deployment._deployment_config
    assert (engines.autoscaling_config.min_replicas, engines.autoscaling_config.max_replicas) == (1, 3)


def test_the_judge_s_cluster_is_one_that_training_can_ask() -> None:
    from ray.serve.llm import LLMConfig

    [model] = application(ROOT / "configs" / "serve_judge_72b.yaml")["args"]["llm_configs"]
    config = LLMConfig(**model)
    ours = load(ROOT / "configs" / "chart_7b.yaml").judge
    assert config.model_id == ours.model and config.engine_kwargs["max_model_len"] >= ours.max_model_len
    assert config.engine_kwargs["tensor_parallel_size"] == ours.gpus


def test_the_inference_file_serves(live: Live) -> None:
    """`live` is that file, run by `serve run` on a small model."""
    assert {name.split("#")[0] for name in live.processes()} >= {
        "ServeReplica:rrvf:Api",
        "ServeReplica:rrvf:Inference",
        "ServeReplica:rrvf:RenderWorker",
        "ServeReplica:rrvf:VisualJudge",
    }
