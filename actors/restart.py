"""Whether a process is an actor that Ray has started again after a death, and must recover what it had made."""

import ray


def reconstructed() -> bool:
    """False in an actor's first life and outside of actors."""
    if not ray.is_initialized():
        return False
    context = ray.get_runtime_context()
    return context.get_actor_id() is not None and context.was_current_actor_reconstructed
