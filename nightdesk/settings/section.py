"""What all sections of a configuration file share, and the types of their values."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

INFINITY = "infinity"
"""How a file writes that there is no limit; inside it is None. An empty value is refused: it may be a slip."""

DAY_S = 86_400

NAME_PATTERN = r"^[a-z][a-z0-9_]{0,31}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""A name that becomes part of a path in the tree: lower case, digits and underscores, at most 32 characters."""

Seconds = Annotated[float, Field(gt=0, le=DAY_S)]

Path = Annotated[str, Field(min_length=1, max_length=4096)]
"""A file or folder; a relative one is relative to the configuration file's folder."""

Text = Annotated[str, Field(min_length=1, max_length=500)]

TimeOfDay = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
"""A time by the exchange's clocks, such as ``"16:10"``; in quotes, or YAML 1.1 would read a number."""


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


class Secret(Section):
    """Where a secret comes from, never the secret itself: one environment variable or one file of mode 0600.

    In YAML it is written ``${VARIABLE}`` or ``{file: /path}``; the loader turns the first form into ``env``.
    """

    env: Text | None = None
    """The name of the environment variable; in the file: ``${NAME}``."""
    file: Path | None = None
    """The file, which holds one line; mode 0600 (or 0400), owned by this user or root."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise ValueError("give a secret as ${VARIABLE} or as {file: PATH}, not in clear text")
        return self
