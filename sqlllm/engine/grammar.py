"""Answers that can't have another form: JSON Schema and regular expressions, by llguidance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from sqlllm.engine.enforceable import enforceable
from sqlllm.errors import CallError

COMPACT: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""No free choice of spaces and lines: a model could write them without end."""


class Grammars:
    """Makes grammars for one tokenizer.

    Args:
        tokenizer: A fast tokenizer of transformers.
        width: Columns of the model's logits; may be more than the tokenizer has tokens, or fewer:
            a token that the model doesn't know is never written.
        ends: Tokens that end an answer.
    """

    def __init__(self, tokenizer: Any, width: int, ends: frozenset[int]) -> None:
        import llguidance
        from llguidance.hf import from_tokenizer

        self._width = max(width, len(tokenizer))
        self._tokens = from_tokenizer(tokenizer, n_vocab=self._width, eos_token=sorted(ends))
        self._executor = llguidance.LLExecutor()  # as many threads as there are cores

    def json(self, schema: str) -> Grammar:
        """Valid against a JSON Schema, given as JSON text."""
        from llguidance import LLMatcher

        try:
            exact = json.dumps(enforceable(json.loads(schema)), ensure_ascii=False)
            made = LLMatcher.grammar_from_json_schema(exact, overrides=COMPACT)
        except CallError:
            raise
        except (ValueError, RecursionError) as error:  # half a character, or nested too deeply
            raise _unenforceable("schema", str(error)) from error
        return self._made(made, "schema")

    def regex(self, pattern: str) -> Grammar:
        """Matched as a whole by a regular expression (Rust's syntax, without look-around).

        `\\d` is any digit of Unicode there; `[0-9]` is not.
        """
        from llguidance import LLMatcher

        return self._made(LLMatcher.grammar_from_regex(pattern), "pattern")

    def _made(self, text: str, what: str) -> Grammar:
        from llguidance import LLMatcher

        if problem := LLMatcher.validate_grammar(text, self._tokens):
            raise _unenforceable(what, problem.strip())
        return Grammar(LLMatcher(self._tokens, text), self._executor, self._width)


def _unenforceable(what: str, problem: str) -> CallError:
    return CallError(f"the {what} can't be enforced: {problem}", hint=f"simplify the {what}")


class Grammar:
    """A compiled grammar; `rule()` gives a row's own state."""

    def __init__(self, matcher: Any, executor: Any, width: int) -> None:
        self._matcher = matcher
        self._executor = executor
        self._width = width

    def rule(self) -> Rule:
        """At the beginning of an answer."""
        return Rule(self._matcher.deep_copy())

    def allowed(self, rules: Sequence[Rule], logits: Any) -> Any:
        """`logits` with minus infinity for tokens that the rules forbid."""
        import torch
        from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask_par

        bits = allocate_token_bitmask(len(rules), self._width)
        matchers = [(rule.matcher, i) for i, rule in enumerate(rules)]
        fill_next_token_bitmask_par(self._executor, matchers, bits)
        flags = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little")
        forbidden = torch.from_numpy(flags[:, : logits.shape[1]] == 0)
        return logits.masked_fill(forbidden.to(logits.device), float("-inf"))


class Rule:
    """Where in the grammar an answer is."""

    def __init__(self, matcher: Any) -> None:
        self.matcher = matcher

    def take(self, token: int) -> None:
        """Go on by a token."""
        self.matcher.consume_token(token)

    def forced(self, most: int) -> list[int]:
        """Tokens that must follow, taken; at most `most` (jump-forward decoding)."""
        tokens: list[int] = self.matcher.compute_ff_tokens()[:most] if most > 0 else []
        if tokens:
            self.matcher.consume_tokens(tokens)
        return tokens

    @property
    def complete(self) -> bool:
        """Whether nothing may follow."""
        return bool(self.matcher.is_stopped())

    @property
    def accepting(self) -> bool:
        """Whether the answer could end here."""
        return self.problem is None and bool(self.matcher.is_accepting())

    @property
    def problem(self) -> str | None:
        """What the grammar's engine ran into, which ends the answer; it raises nothing.

        Behind the first line is the engine's state, with all of the answer so far.
        """
        error: str = self.matcher.get_error().strip() if self.matcher.is_error() else ""
        return error.partition("\n")[0] or None
