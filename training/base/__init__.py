"""The embedded base policy: the curriculum that teaches it to read charts, and what it reads of them.

May import everything of training but jobs and commands.
"""

from pathlib import Path

SHIPPED = Path(__file__).parent / "policy"  # a Hugging Face folder in bfloat16, made by `make base`
