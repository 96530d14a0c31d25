"""One scope of a budget, what the next inputs may take of it, and what is sent within it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sqlllm.runtime.answers import Array
from sqlllm.runtime.usage import Spent, Tally


@dataclass(slots=True)
class Scope:
    """Limits, and what was spent of them.

    Attributes:
        per: `query`, `job` or `day`.
        limits: By name, such as `max_calls`.
        tally: What was spent; of a day, what this process may give back.
        setting: Where the limits are written, for the error.

    Example:
        >>> scope = Scope("query", {"max_calls": 9, "max_tokens": 100}, Tally(), "[budgets.query]")
        >>> needs = Needs(np.array([20, 40, 60, 80]), np.zeros(4))
        >>> scope.fits(Spent(calls=2, tokens=50), needs, most=4)
        (2, 'max_tokens')
    """

    per: str
    limits: Mapping[str, float]
    tally: Tally
    setting: str

    def fits(self, spent: Spent, needs: Needs, most: int) -> tuple[int, str]:
        """How many of the next inputs there is room for, at most `most`, and what limits them."""
        found = {}
        for name, limit in self.limits.items():
            left = limit - getattr(spent, name.removeprefix("max_"))
            if name == "max_calls":
                found[name] = left
            elif name == "max_seconds":
                found[name] = most if left > 0 else 0
            else:
                up_to = needs.tokens if name == "max_tokens" else needs.cost
                found[name] = int(np.searchsorted(up_to, left + 1e-12, side="right"))
        name = min(found, key=lambda each: found[each])
        return int(min(max(found[name], 0), most)), name

    def is_over(self, spent: Spent) -> bool:
        """Whether nothing more may be sent, where that was not known before it was."""
        return any(
            getattr(spent, name.removeprefix("max_")) > limit
            or (name == "max_seconds" and spent.seconds >= limit)
            for name, limit in self.limits.items()
        )


@dataclass(slots=True)
class Needs:
    """The most that the first input, the first two, ... may take."""

    tokens: Array
    cost: Array

    def of(self, count: int) -> Spent:
        """The first `count`."""
        if not count:
            return Spent()
        return Spent(count, int(self.tokens[count - 1]), 0.0, float(self.cost[count - 1]))


@dataclass(slots=True)
class Part:
    """Inputs that may be sent now.

    Attributes:
        count: How many.
        day: The local day they count for.
        scopes: The budgets they count for.
        held: What was set aside for them and is not used yet.
        daily: What was spent on the day, as far as it is known here.
        is_over: Whether a budget turned out to be used up before all was sent.
    """

    count: int
    day: str
    scopes: Sequence[Scope] = ()
    held: Spent = field(default_factory=Spent)
    daily: Spent = field(default_factory=Spent)
    is_over: bool = False

    @property
    def in_day(self) -> bool:
        """Whether what was set aside is counted for the day."""
        return any(scope.per == "day" for scope in self.scopes)

    def use(self, used: Spent) -> Spent:
        """What `used` takes beyond what was set aside."""
        beyond = Spent(seconds=used.seconds)
        for name in ("calls", "tokens", "cost"):
            held = min(getattr(self.held, name), getattr(used, name))
            setattr(self.held, name, getattr(self.held, name) - held)
            setattr(beyond, name, getattr(used, name) - held)
        return beyond


def counts_tokens(scopes: Sequence[Scope]) -> bool:
    """Whether what an input takes must be known before it is sent."""
    return any({"max_tokens", "max_cost"} & set(scope.limits) for scope in scopes)
