"""Budgets: how much of what should be asked may be sent, per query, job and day."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from sqlllm.errors import BudgetExceeded, ConfigError, SqlllmError
from sqlllm.models.answers import room
from sqlllm.models.base import Batch, Model
from sqlllm.runtime.asking import Asking
from sqlllm.runtime.scope import Needs, Part, Scope, counts_tokens
from sqlllm.runtime.usage import Ledger, Spent, Tally, today
from sqlllm.settings import Settings
from sqlllm.task import Task


class Meter:
    """What is being spent by the threads of this process."""

    TASKS = 10_000

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.jobs: dict[str, Tally] = {}
        self.day = Tally()
        self.overhead: dict[tuple[str, bytes], float] = {}  # tokens that a prompt adds to a text


class Budget:
    """Says how many inputs may be sent, so that no limit is passed.

    Calls are counted exactly, whatever asks at once: what may be sent is set aside before it is.
    Of tokens and cost, what an input may take at most is set aside, and what it didn't take is
    given back; nothing is known of seconds before they have passed.

    Args:
        settings: Budgets, caps and prices.
        ledger: Where days are counted.
        meter: Of the installation's budget before, if its settings change.
    """

    FIRST = 16  # inputs that show how many tokens the prompt adds
    PART = 2048  # inputs set aside at once for a day: a killed process gives none back

    def __init__(self, settings: Settings, ledger: Ledger, meter: Meter | None = None) -> None:
        self.meter = meter or Meter()
        self._settings = settings
        self._ledger = ledger

    @property
    def alone(self) -> bool:
        """Whether a query must not ask for what others wait for: it would pay for them."""
        return bool(self._settings.budgets.get("query") or self._settings.caps)

    def cost(self, model: str, read: Any, written: Any) -> Any:
        """What tokens cost, a number or an array of them; None where the model has no price."""
        price = self._settings.prices.get(model)
        if price is None:
            return None
        return (read * price["input"] + written * price["output"]) / 1e6

    def take(
        self,
        asking: Asking,
        texts: Sequence[str],
        *,
        before: int,
        left: int,
        stopped: Callable[[], bool],
    ) -> Part:
        """The part of `texts`, from the beginning, that may be sent now.

        Args:
            asking: Of which model, and on whose behalf.
            texts: What should be sent.
            before: How many the part before had, or 0.
            left: How many inputs have no answer yet, for the error.
            stopped: Whether the query was interrupted, asked while other threads are waited for.

        Raises:
            BudgetExceeded: Not one.
        """
        with self.meter.changed:
            scopes = self._scopes(asking)
        if not scopes:
            return Part(len(texts), today())
        if any(scope.per == "day" for scope in scopes):
            texts = texts[: self.PART]
        needs = Needs(np.zeros(len(texts)), np.zeros(len(texts)))
        if counts_tokens(scopes):
            texts = texts[: min(4 * before or self.PART, self.PART)]
            needs, texts = self._needs(asking, texts)
        with self.meter.changed:
            while True:
                part, full, name = self._reserve(scopes, needs, len(texts))
                if part.count:
                    for scope in scopes:
                        scope.tally.pending += 1
                    return part
                if name in ("max_calls", "max_seconds") or not full.tally.pending:
                    spent = part.daily if full.per == "day" else full.tally
                    raise self._exceeded(asking, full, name, spent, needs.of(1), left)
                self.meter.changed.wait(0.1)
                if stopped():
                    raise KeyboardInterrupt

    def landed(
        self, asking: Asking, part: Part, batch: Batch, answered: Sequence[str], seconds: float
    ) -> None:
        """Count a batch, which answered these texts and took so long."""
        self._learn(asking, part, answered, batch.prompt_tokens)
        calls = len(batch.rows) + len(batch.errors)
        read, written = batch.prompt_tokens, batch.completion_tokens
        cost = self.cost(asking.model.name, read, written) or 0.0
        with self.meter.changed:
            used = Spent(calls, read + written, seconds, cost)
            beyond = part.use(used)
            self._ledger.spend(part.day, beyond if part.in_day else used)
            part.daily.add(beyond)
            for scope in part.scopes:
                scope.tally.add(beyond)
            part.is_over = any(
                scope.is_over(part.daily if scope.per == "day" else scope.tally)
                for scope in part.scopes
            )

    def settle(self, part: Part, lost: int) -> None:
        """Give back what was set aside and not used, but for inputs that may have been sent."""
        if not part.scopes:
            return
        with self.meter.changed:
            part.held.calls -= min(lost, part.held.calls)
            if part.in_day:
                self._ledger.spend(part.day, part.held, -1)
            for scope in part.scopes:
                scope.tally.add(part.held, -1)
                scope.tally.pending -= 1
            self.meter.changed.notify_all()

    def _scopes(self, asking: Asking) -> list[Scope]:
        model, run = asking.model.name, self._ledger.run
        budgets, caps = self._settings.budgets, self._settings.caps.get(model, {})
        query, jobs = asking.statement.tallies, self.meter.jobs
        every = [
            Scope(
                "query", budgets.get("query", {}), query.setdefault("", Tally()), "[budgets.query]"
            ),
            Scope("query", caps, query.setdefault(model, Tally()), f"[models.{model}]"),
            Scope(
                "job", budgets.get("job", {}), jobs.setdefault(run or "", Tally()), "[budgets.job]"
            ),
            Scope("day", budgets.get("day", {}), self.meter.day, "[budgets.day]"),
        ]
        scopes = [scope for scope in every if scope.limits and (run or scope.per != "job")]
        if (
            any("max_cost" in scope.limits for scope in scopes)
            and model not in self._settings.prices
        ):
            msg = f"there is a budget of cost, and model {model!r} has no price"
            hint = f"give price_input and price_output, per million tokens, in [models.{model}]"
            raise ConfigError(msg, hint=f"{hint}; what is free costs 0")
        return scopes

    def _learn(self, asking: Asking, part: Part, texts: Sequence[str], tokens: int) -> None:
        """Note how many tokens a prompt has beside the text, from what was read with these."""
        if not texts or not counts_tokens(part.scopes):
            return
        beside = max(0, tokens - sum(_count(asking.model, texts))) / len(texts)
        task, overhead = (asking.model.fingerprint, asking.task.key), self.meter.overhead
        overhead[task] = max(overhead.get(task, 0), beside)
        while len(overhead) > Meter.TASKS:
            del overhead[next(iter(overhead))]

    def _needs(self, asking: Asking, texts: Sequence[str]) -> tuple[Needs, Sequence[str]]:
        """What the texts may take at most; few of them, before it is known what a prompt adds."""
        model, task = asking.model, asking.task
        seen = self.meter.overhead.get((asking.model.fingerprint, asking.task.key))
        if seen is None:
            texts = texts[: self.FIRST]
        fixed = sum(_count(model, _prompt(task))) + TEMPLATE
        most = model.window or model.room()  # a longer text is cut, or fails
        sizes = [min(size, most or size) for size in _count(model, texts)]
        writes = task.kind in ("complete", "extract")
        written = np.cumsum([room(task, size) if writes else 0 for size in sizes])
        read = fixed + np.ceil(np.cumsum(np.array(sizes) + (fixed if seen is None else seen)))
        cost = self.cost(model.name, read, written)
        return Needs(read + written, np.zeros(len(read)) if cost is None else cost), texts

    def _reserve(self, scopes: Sequence[Scope], needs: Needs, most: int) -> tuple[Part, Scope, str]:
        """Set aside what fits; else a part of nothing, and what there is no room in."""
        part, full, name = Part(most, today(), scopes), scopes[0], ""

        def fit(scope: Scope, spent: Spent) -> Spent:
            nonlocal full, name
            count, limit = scope.fits(spent, needs, part.count)
            if count < part.count:
                part.count, full, name = count, scope, limit
            return needs.of(part.count)

        for scope in scopes:  # the day's is the last: while it is looked at, other processes wait
            if scope.per != "day":
                fit(scope, scope.tally)
            elif part.count:
                part.daily = self._ledger.reserve(part.day, partial(fit, scope))
        part.held = needs.of(part.count)
        for scope in scopes:
            scope.tally.add(part.held)
        part.daily.add(part.held)
        return part, full, name

    def _exceeded(
        self, asking: Asking, scope: Scope, name: str, spent: Spent, next_one: Spent, left: int
    ) -> BudgetExceeded:
        of = f" of model {asking.model.name!r}" if scope.setting.startswith("[models") else ""
        limit, used = scope.limits[name], getattr(spent, name.removeprefix("max_"))
        more = getattr(next_one, name.removeprefix("max_"))
        most = (
            f"the next input may take {more:,.4g}, " if name in ("max_tokens", "max_cost") else ""
        )
        total = self._ledger.total(asking.caller.function, asking.model.name)
        takes = ""
        if total.sent:
            each = left / total.sent
            tokens = (total.prompt_tokens + total.completion_tokens) * each
            takes = f" (about {tokens:,.0f} tokens, {total.seconds * each:,.1f} seconds"
            takes += f", a cost of {total.cost * each:,.4g})" if total.cost is not None else ")"
        msg = (
            f"the budget of {_amount(limit, name)} per {scope.per}{of} leaves no room: "
            f"{_amount(used, name)} spent, {most}{left:,} inputs left{takes}"
        )
        again = "run it again tomorrow" if scope.per == "day" else "run it again to go on"
        kept = f"the answers so far are kept: {again}, or raise"
        if self._settings.cache in ("off", "read"):
            kept = f"with cache = {self._settings.cache!r} no answer is kept: raise"
        return BudgetExceeded(msg, hint=f"{kept} {name} in {scope.setting}")


TEMPLATE = 32  # tokens that a chat template may add to a prompt


def _amount(number: float, name: str) -> str:
    if name == "max_cost":
        return f"a cost of {number:,.4g}"
    return f"{number:,.10g} {name.removeprefix('max_')}"


def _prompt(task: Task) -> list[str]:
    """What a prompt has beside the text."""
    shown = [task.instruction, task.system, task.schema, task.shown, *task.labels]
    shown += [*task.descriptions, *(part for example in task.examples for part in example)]
    return [each for each in shown if each]


def _count(model: Model, texts: Sequence[str]) -> list[int]:
    """Tokens of each text; where the model can't count, as many as there could be."""
    try:
        return model.count_tokens(texts) if texts else []
    except SqlllmError:
        return [len(text.encode()) for text in texts]
