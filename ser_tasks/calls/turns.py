"""What a sidecar says of a mono call's people: how many speak, who called, where a prompt ends, and their turns with roles.

Read under the policy ``customers_mono`` alone: other policies do not look at these names. A transcript that names roles gives the same
`MonoFacts`, with a source of its own.
"""

import json
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ser_tasks.calls.roles import roles_of
from ser_tasks.calls.spelling import plain

MOST_SPEAKERS = 4
MOST_TURNS = 20_000


@dataclass(frozen=True)
class RoleTurn:
    """A stretch of time in which somebody with a known role speaks."""

    start_s: float
    end_s: float
    role: str
    """agent, customer, or unknown for any other word."""


@dataclass(frozen=True)
class MonoFacts:
    """What is stated of a mono call. Defaults: nothing is."""

    speakers: int | None = None
    """People on the recording, with a prompt's voice, 1 to 4."""
    direction: str | None = None
    """inbound or outbound."""
    prompt_end_s: float | None = None
    """Until when nobody but a machine speaks, in seconds."""
    turns: tuple[RoleTurn, ...] = ()
    turns_source: str = "turns"
    """Where turns come from, as the column ``roles_source`` has it: turns (the sidecar's) or transcript."""
    problem: str | None = None
    """What could not be read: the call is then withheld."""

    def or_else(self, direction: str | None, prompt_s: float) -> "MonoFacts":
        """These facts, with an installation's own where the call states none."""
        prompt_end_s = prompt_s if self.prompt_end_s is None else self.prompt_end_s
        return replace(self, direction=self.direction or direction, prompt_end_s=prompt_end_s)


def _lower(value: Any) -> Any:
    return value.strip().casefold() if isinstance(value, str) else value


class _Turn(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    start_s: Annotated[float, Field(ge=0)]
    end_s: float
    role: Annotated[str, Field(max_length=100)]

    @model_validator(mode="after")
    def _in_order(self) -> "_Turn":
        if self.end_s < self.start_s:
            raise ValueError("it ends before it starts")
        return self


class _Stated(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    speakers: Annotated[int | None, Field(ge=1, le=MOST_SPEAKERS)] = None
    direction: Annotated[Literal["inbound", "outbound"] | None, BeforeValidator(_lower)] = None
    prompt_end_s: Annotated[float | None, Field(ge=0)] = None
    turns: Annotated[list[_Turn] | None, Field(max_length=MOST_TURNS)] = None


_NAMES = {plain(name): name for name in _Stated.model_fields}
_STATED = {*_Stated.model_fields, *_Turn.model_fields}
"""Names that a message may show: others may hold ids."""


def mono_facts(sidecar: bytes | None) -> MonoFacts:
    """The facts of a sidecar that `call_metadata` accepted; their names in any spelling. What is null is not stated.

    A fact that is stated and cannot be read is a ``problem``: who speaks may depend on it.
    """
    stated = json.loads(sidecar.decode("utf-8-sig")) if sidecar is not None else {}
    facts: dict[str, Any] = {}
    for name, value in stated.items():
        if fact := _NAMES.get(plain(name)):
            if fact in facts:
                return MonoFacts(problem=f"the sidecar has {fact} twice, in two spellings")
            facts[fact] = value
    try:
        read = _Stated.model_validate(facts)
    except ValidationError as error:
        each = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in each["loc"] if isinstance(part, int) or part in _STATED)
        return MonoFacts(problem=f"the sidecar's {where} cannot be read ({each['msg'].removeprefix('Value error, ')})")
    turns = read.turns or []
    roles = roles_of({index: turn.role for index, turn in enumerate(turns)})
    spoken = [
        RoleTurn(turn.start_s, turn.end_s, roles[index] if roles[index] in ("agent", "customer") else "unknown")
        for index, turn in enumerate(turns)
    ]
    spoken.sort(key=lambda turn: (turn.start_s, turn.end_s))
    return MonoFacts(read.speakers, read.direction, read.prompt_end_s, tuple(spoken))
