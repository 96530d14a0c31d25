"""`ai.match(..., strategy := 'blocking' | 'classify')` in an inner join: likely pairs only.

The texts of both sides are gathered, `ai._candidates` names the pairs that are worth asking about,
a join keeps those, and ai.match asks about them as ever. So a pair that is found is right by
the model; what the strategy may do is miss some, which is why it must be asked for.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from sqlllm.rewrite.calls import ai_call, asks, call_name, calls, option, without_strategy
from sqlllm.rewrite.conditions import are_inner, joins, tables_of, take_out, terms
from sqlllm.rewrite.source import add_cte, hide, shows_all

APPROXIMATE = ("blocking", "classify")


def candidates(select: exp.Select, numbers: Iterator[int]) -> exp.Select:
    """Apply the rule to one query block."""
    if not has_strategy(select):
        return select
    new = select.copy()
    for term in _terms(new):
        strategy = strategy_of(term)
        sides = _sides(new, term) if strategy in APPROXIMATE else None
        if sides is not None:
            _keep_likely(new, term, sides, f"__ai_{next(numbers)}")
    return new if len(new.ctes) > len(select.ctes) else select


def has_strategy(select: exp.Select) -> bool:
    """Whether a call of the block names a strategy that may miss pairs."""
    return any(strategy_of(call) in APPROXIMATE for call in calls(select))


def strategy_of(call: exp.Expr) -> str | None:
    """The strategy that a call of ai.match names, as constant text."""
    if not isinstance(call, exp.Dot) or call_name(call) != "match":
        return None
    value = option(call.expression.expressions, "strategy")
    return str(value.this) if isinstance(value, exp.Literal) and value.is_string else None


def _terms(select: exp.Select) -> list[exp.Expr]:
    """The conditions that a pair must meet, in a block of inner joins alone."""
    if not joins(select) or not are_inner(select) or shows_all(select):
        return []
    return terms(select)


def _sides(select: exp.Select, term: exp.Expr) -> list[exp.Select] | None:
    """The distinct texts of both sides, each of one table with the conditions on it alone."""
    arguments = term.expression.expressions
    if len(arguments) < 3 or any(isinstance(a, exp.PropertyEQ) for a in arguments[:3]):
        return None
    tables = {t.alias_or_name.lower(): t for t in tables_of(select)}
    sides = []
    for text in arguments[:2]:
        names = {column.table.lower() for column in text.find_all(exp.Column)}
        name = next(iter(names), "")
        if len(names) != 1 or name not in tables or asks(text) or text.find(exp.Query):
            return None
        own = [t for t in _terms(select) if _is_about(t, name)]
        varchar = exp.cast(text.copy(), "VARCHAR")
        texts = exp.select("list(DISTINCT x) FILTER (WHERE NOT x IS NULL)", dialect="duckdb")
        query = exp.select(exp.alias_(varchar, "x")).from_(tables[name].copy())
        query = query.where(*(t.copy() for t in own)) if own else query
        sides.append(texts.from_(query.subquery("__ai_side")))
    left, right = ({c.table.lower() for c in a.find_all(exp.Column)} for a in arguments[:2])
    return sides if left != right else None


def missing(select: exp.Select, call: exp.Expr) -> str | None:
    """What the strategy of a call may miss, or why it is not followed; None without a strategy."""
    strategy = strategy_of(call)
    if strategy not in APPROXIMATE:
        return None
    if all(term is not call for term in _terms(select)) or _sides(select, call) is None:
        return f"{strategy} needs an inner join of two tables: every pair is asked"
    if strategy == "classify":
        return "at most; classify: may miss all matches of a left text but one"
    recall = option(call.expression.expressions, "recall")
    wanted = recall.sql() if recall is not None else "0.95"
    return f"at most; blocking: may miss pairs that are far apart; recall {wanted} on a sample"


def _is_about(term: exp.Expr, name: str) -> bool:
    columns = list(term.find_all(exp.Column))
    alone = bool(columns) and all(column.table.lower() == name for column in columns)
    return alone and not asks(term) and term.find(exp.Query) is None


def _keep_likely(select: exp.Select, term: exp.Expr, sides: list[exp.Select], name: str) -> None:
    """Join the likely pairs, and ask about their texts instead of those of the tables."""
    a, b, relation, *options = term.expression.expressions
    kept = without_strategy(options)
    pairs = ai_call(
        "_candidates",
        *(side.subquery() for side in sides),
        relation,
        option(options, "strategy") or exp.null(),
        option(options, "recall") or exp.Literal.number("0.95"),
        ai_call("_filter_options", ai_call("_relation", relation), *kept),
    )
    one = exp.select(exp.alias_(exp.Explode(this=pairs), "pair")).subquery("__ai_pairs")
    fields = [f"pair['{side}'] AS __ai_{side}" for side in ("a", "b")]
    query = exp.select(*fields, dialect="duckdb").from_(one)
    take_out(select, term)
    hide([p for p in select.expressions if isinstance(p, exp.Star)], ["__ai_a", "__ai_b"])
    add_cte(select, name, query)
    texts = {side: exp.column(f"__ai_{side}", table=name) for side in ("a", "b")}
    equal = [
        exp.EQ(this=texts[side].copy(), expression=exp.cast(text.copy(), "VARCHAR"))
        for side, text in (("a", a), ("b", b))
    ]
    select.append("joins", exp.Join(this=exp.to_table(name), on=exp.and_(*equal, copy=False)))
    asked = ai_call("match", texts["a"], texts["b"], relation, *kept)
    select.where(asked, copy=False)
