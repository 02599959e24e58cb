"""What all sections of a configuration file share, and the types of their values."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

INFINITY = "infinity"
"""How a file writes that there is no limit; inside it is None. An empty value is refused: it may be a slip."""

DAY_S = 86_400

NAME_PATTERN = r"^[a-z][a-z0-9_]{0,31}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""A name that becomes part of a path in the tree: lower case, digits and underscores, at most 32 characters."""

Seconds = Annotated[float, Field(gt=0, le=DAY_S)]


class Section(BaseModel):
    """A part of the file: unknown keys are refused, values are not coerced, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _read_infinity(value: Any) -> Any:
    if value is None:
        raise ValueError("must not be empty; write a number, or infinity for no limit")
    return None if value == INFINITY else value


_INFINITE = (BeforeValidator(_read_infinity), PlainSerializer(lambda value: INFINITY if value is None else value))

SecondsOrInfinity = Annotated[Annotated[float, Field(gt=0, le=DAY_S)] | None, *_INFINITE]
TimeOrInfinity = Annotated[Annotated[float, Field(ge=0, le=DAY_S)] | None, *_INFINITE]
CountOrInfinity = Annotated[Annotated[int, Field(ge=0, le=1000)] | None, *_INFINITE]
