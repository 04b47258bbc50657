"""Several replicas and one set of weights, over replicas that only remember what they were asked."""

from pathlib import Path
from typing import Any

import pytest

from actors.contracts import Outage
from configs.load import load
from configs.runs import checkpoint_path
from serving.http.errors import BadRequest
from serving.inference.reload import Weights


class Replicas:
    """What a Serve handle's `broadcast` does, for replicas with a model and a version each."""

    def __init__(self, *versions: int) -> None:
        self.held: list[dict[str, Any]] = [{"model": f"m{v}", "version": v} for v in versions]
        self.loads = 0

    def broadcast(self, method: str, *args: Any) -> "Replicas":
        self.asked = (method, args)
        return self

    async def results_async(self, *, timeout_s: float) -> list[dict[str, Any]]:
        method, args = self.asked
        if method == "loaded":
            return [dict(state) for state in self.held]
        for state in self.held:
            if args[0] == "bad":
                raise BadRequest("bad_model", "does not fit")
            self.loads += state != {"model": args[0], "version": args[1]}
            state.update(model=args[0], version=args[1])
        return [{"pause_s": 0.1 * i} for i, _ in enumerate(self.held)]


def weights_of(replicas: Replicas, **settings: object) -> Weights:
    return Weights(replicas, load(None, [f"{k}={v}" for k, v in settings.items()]))


async def test_all_replicas_get_the_same_weights_and_version() -> None:
    replicas = Replicas(0, 0)
    weights = weights_of(replicas)
    assert await weights.to("new") == {"model": "new", "version": 1, "replicas": 2, "pause_s": 0.1}
    assert replicas.held == [{"model": "new", "version": 1}] * 2
    assert (await weights.to("new"))["version"] == 1 and replicas.loads == 2, "nothing is loaded twice"
    assert (await weights.to("newer"))["version"] == 2


async def test_a_replica_that_starts_late_gets_the_weights_of_the_others() -> None:
    replicas = Replicas(3, 3, 0)
    weights = weights_of(replicas, **{"inference.max_replicas": 3})
    weights.look()
    assert weights._task is not None
    await weights._task
    assert replicas.held == [{"model": "m3", "version": 3}] * 3 and replicas.loads == 1


async def test_the_newest_checkpoint_is_followed(tmp_path: Path) -> None:
    replicas = Replicas(0)
    weights = weights_of(replicas, **{"run.dir": tmp_path, "inference.watch": True})
    run = tmp_path / "a"
    (tmp_path / "latest").symlink_to("a")
    for step in (5, 10):
        checkpoint_path(run, step).mkdir(parents=True)
        weights.look()
        assert weights._task is not None
        await weights._task
        assert replicas.held[0]["model"] == str(checkpoint_path(run, step))
    assert replicas.held[0]["version"] == 2


async def test_what_does_not_fit_or_is_not_there_is_said() -> None:
    with pytest.raises(BadRequest, match="does not fit"):
        await weights_of(Replicas(0)).to("bad")
    with pytest.raises(Outage, match="no replica"):
        await weights_of(Replicas()).to("x")
    with pytest.raises(BadRequest, match="no checkpoint yet"):
        await weights_of(Replicas(0), **{"run.dir": "/nowhere"}).to("latest")
