"""A Ray of our own that does not come up at first, as on a machine that is too busy for Ray's limits."""

from typing import Any

import pytest
import ray

from actors import local_ray
from actors.contracts import Outage


@pytest.mark.parametrize("failures", [0, 1, local_ray.TRIES])
def test_a_start_that_fails_is_tried_again_and_is_an_outage_in_the_end(
    monkeypatch: pytest.MonkeyPatch, failures: int, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[dict[str, Any]] = []
    ended: list[bool] = []

    def init(**options: Any) -> None:
        asked.append(options)
        if len(asked) <= failures:
            raise Exception("The current node timed out during startup")  # Ray's own class and words

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: ended.append(True))
    if failures == local_ray.TRIES:
        with pytest.raises(Outage, match="Ray did not start here in 4 tries: The current node timed out"):
            local_ray.start(3)
    else:
        local_ray.start(3, logging_level="ERROR")
    assert capsys.readouterr().err.count("more tries: The current node") == min(failures, local_ray.TRIES - 1)
    assert len(asked) == min(failures + 1, local_ray.TRIES) and len(ended) == failures
    assert all(options["num_cpus"] == 3 and options["address"] == "local" for options in asked)
