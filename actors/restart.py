"""Deaths of processes: what an actor that was started again must know, and who must not outlive whom.

Guarantees: `reconstructed` is true only in an actor that Ray has started again after a death, which must then recover
what its life had made; a child that called `die_with_parent` ends when its parent does, also by SIGKILL.
"""

import multiprocessing
import os
import threading

import ray


def reconstructed() -> bool:
    """False in an actor's first life and outside of actors."""
    if not ray.is_initialized():
        return False
    context = ray.get_runtime_context()
    return context.get_actor_id() is not None and context.was_current_actor_reconstructed


def die_with_parent() -> None:
    """In a process that multiprocessing has started: end at once when the parent is gone. Elsewhere: nothing."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="die-with-parent", daemon=True).start()
