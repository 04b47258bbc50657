"""What fits on a cluster's nodes, and the cases that need some (`room_cases`)."""

import os
import subprocess
from collections import Counter

from tests.interpreter import interpreter
from tests.nodes.room_cases import ROOT, recipe
from training.run.nodes.room import Demand, beside, demands, left_over

LIMIT_S = 900


def test_what_fits_the_sum_of_nodes_may_fit_none() -> None:
    need = demands(recipe("judge.gpus=8", "engine.replicas=4", "learner.workers=4"))
    assert need[0] == Demand("judge", {"CPU": 0.5, "GPU": 8.0}), "the largest is placed first"
    eight = {"CPU": 32.0, "GPU": 8.0}
    assert not left_over(need, {"a": eight, "b": eight})
    fours = {name: {"CPU": 32.0, "GPU": 4.0} for name in "abcd"}
    assert left_over(need, fours) == Counter({"judge (0.5 CPU and 8 GPU)": 1})
    tiny = [Demand("policy engine", {"CPU": 2.0}), Demand("worker", {"CPU": 1.0}), Demand("judge", {"CPU": 0.5})]
    words = beside(tiny, left_over(tiny, {"a": {"CPU": 3.0}}))
    assert words == "1 x judge (0.5 CPU) beside the run's other parts (3 CPU)", "there is room for it alone"
    assert beside(tiny, left_over(tiny, {"a": {"CPU": 1.5}})) == "1 x policy engine (2 CPU)", "no other is in its way"
    assert left_over(need, {"a": eight, "b": {"CPU": 2.0, "GPU": 8.0}})["learner worker (1 CPU and 1 GPU)"] == 4


def test_a_part_that_no_nodes_labels_allow_is_named() -> None:
    settings = ("cluster.place.learner=pool=big|bigger", "cluster.place.queue=ray.io/market-type!=spot")
    need = demands(recipe("judge.gpus=2", *settings))
    room = {"a": {"CPU": 99.0, "GPU": 99.0}, "b": {"CPU": 99.0, "GPU": 99.0}}
    spot = {"ray.io/market-type": "spot"}
    assert not left_over(need, room, {"a": {"pool": "bigger"} | spot, "b": {}})
    assert left_over(need, room, {"a": {"pool": "small"} | spot, "b": spot}) == Counter(
        {
            "learner worker (1 CPU and 1 GPU on a node with pool=big|bigger)": 4,
            "queue (on a node with ray.io/market-type!=spot)": 1,
        }
    )


def test_room_is_waited_for_by_name_and_a_shared_folder_is_proved() -> None:
    command = [interpreter(), "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/nodes/room_cases.py"]
    environment = os.environ | {"RAY_AUTH_MODE": "disabled"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stdout[-4000:]
