"""Settings that ask for nothing: clients send them, so they are taken.

Guarantees: a setting that this server does not offer may be null, false or empty, or have one of the values that change
nothing; any other value stays where it is and is refused by name.
"""

from typing import Any, ClassVar

from pydantic import model_validator

from serving.http.requests import Strict


class Lenient(Strict):
    """A body that drops what has no effect. `without_effect`: further such values by name, None for any value."""

    without_effect: ClassVar[dict[str, tuple[Any, ...] | None]] = {}

    @model_validator(mode="before")
    @classmethod
    def _dropped(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {k: v for k, v in value.items() if k in cls.model_fields or not cls._idle(k, v)}

    @classmethod
    def _idle(cls, name: str, value: Any) -> bool:
        values = cls.without_effect.get(name, ())
        return value is None or value is False or value in ("", [], {}) or values is None or value in values
