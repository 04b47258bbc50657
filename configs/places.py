"""Which nodes a part may run on, by Ray's node labels: how a setting writes it, and what Ray is asked for.

Guarantees: every text of FORM becomes a selector that Ray takes; `fits` says of a node's labels what Ray's scheduler
says of them (a node without a label is none of its values). Ray gives nodes `ray.io/node-id`, `ray.io/market-type`,
`ray.io/accelerator-type` and others by itself; `ray start --labels key=value` adds one's own.
"""

from collections.abc import Mapping

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"  # Kubernetes' rule for names and values of labels
_ONE = rf"(?:{_NAME}/)?{_NAME}!?={_NAME}(?:\|{_NAME})*"
FORM = rf"{_ONE}(?:,{_ONE})*"
FORM_IS = "key=value or key!=value, several joined by commas, with | between values that will do"


def parse(text: str) -> dict[str, tuple[bool, list[str]]]:
    """Label -> (whether its value has to be one of these, or none of these, the values)."""
    found = {}
    for part in filter(None, text.split(",")):
        key, _, values = part.partition("=")
        found[key.removesuffix("!")] = (not key.endswith("!"), values.split("|"))
    return found


def selector(text: str) -> dict[str, str]:
    """As Ray takes it: `pool=a|b,market!=spot` -> {"pool": "in(a,b)", "market": "!in(spot)"}."""
    return {key: f"{'' if among else '!'}in({','.join(v)})" for key, (among, v) in parse(text).items()}


def fits(text: str, labels: Mapping[str, str]) -> bool:
    """Whether a node with these labels will do."""
    return all((labels.get(key) in values) == among for key, (among, values) in parse(text).items())
