"""The embedded base policies: the courses that teach them to read charts or pages, what they read, and the start that
another domain gets from them.

May import everything of training but jobs and commands.
"""

from pathlib import Path

from configs.domains import find

SHIPPED = Path(__file__).parent / "policy"  # a Hugging Face folder in bfloat16, made by `make base`


def shipped(domain: str) -> Path:
    """The policy that `policy.path=embedded` means: the domain's own, or that of charts where it has none. Raises
    configs.domains.Unusable."""
    own = SHIPPED.with_name(f"policy_{find(domain).name}")
    return own if own.is_dir() else SHIPPED
