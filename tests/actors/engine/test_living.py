"""Who answers, where the only actor dies in the moment that it is asked."""

import os
from collections.abc import Iterator

import pytest
import ray

from actors import local_ray
from actors.engine.living import answering
from actors.restart import reconstructed


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    local_ray.start(2)
    yield
    ray.shutdown()


@ray.remote(num_cpus=0, max_restarts=1)
class Mortal:
    """Dies of the first question of its first life."""

    def stats(self) -> str:
        if not reconstructed():
            os._exit(1)
        return "here"


@ray.remote(num_cpus=0)
class Gone:
    def stats(self) -> str:
        os._exit(1)


def test_an_actor_that_dies_of_the_question_is_asked_again_when_it_is_back(cluster: None) -> None:
    actor = Mortal.remote()
    assert answering([actor], "stats", 120) == [(actor, "here")]


def test_actors_that_are_gone_for_good_do_not_answer(cluster: None) -> None:
    assert answering([Gone.remote()], "stats", 3) == [] == answering([], "stats", 3)
