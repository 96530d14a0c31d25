"""Under which condition an expression inside another is evaluated, and what makes that cheaper."""

from __future__ import annotations

from itertools import islice

from sqlglot import exp

from sqlllm.rewrite.calls import ancestors, asks, calls, volatile

GUARDED, NAMED = "guarded", "named"
"""Marks on what a rule put in place of an expression, and on the block that names a result."""

MOST = 24
"""Conditions before a call that are written out: each call repeats those before it."""


def is_late(call: exp.Expr, top: exp.Expr) -> bool:
    """Whether more stands before a call, within `top`, than is written out."""
    before, node = 0, call
    for parent in ancestors(call, top):
        if isinstance(parent, exp.Case | exp.Coalesce) and node.arg_key in ("ifs", "expressions"):
            before += node.index or 0
        elif isinstance(parent, exp.Case) and node.arg_key == "default":
            before += len(parent.args["ifs"])
        elif isinstance(parent, exp.Connector) and node.arg_key == "expression":
            before += sum(1 for _ in islice(calls(parent.this), MOST + 1))
        node = parent
    return before > MOST


def guards(call: exp.Expr, top: exp.Expr) -> list[exp.Expr]:
    """Conditions that all hold where `call` decides something within `top`.

    `CASE WHEN g THEN call END`, `coalesce(g, call)`, `g AND call`, `g OR call`: DuckDB skips the
    call in the first two, and in the others where they filter.
    """
    found: list[exp.Expr] = []
    node = call
    while node is not top and node.parent is not None:
        # Outer ones come first: an inner one may ask, and only where they hold.
        found = [*_of_parent(node, node.parent), *found]
        node = node.parent
    return list(dict.fromkeys(found))


def _of_parent(node: exp.Expr, parent: exp.Expr) -> list[exp.Expr]:
    """Conditions under which `parent` evaluates this part of it."""
    if isinstance(parent, exp.If):
        return _of_branch(node, parent)
    if isinstance(parent, exp.Case) and node.arg_key == "default":
        return [_not_true(_condition(branch)) for branch in parent.args["ifs"]]
    if isinstance(parent, exp.Coalesce) and node.arg_key == "expressions":
        before = [parent.this, *parent.expressions[: node.index]]
        return [exp.Is(this=exp.paren(e.copy()), expression=exp.Null()) for e in before]
    if isinstance(parent, exp.Or) and node.arg_key == "expression":
        return [_not_true(parent.this)]
    if isinstance(parent, exp.And) and node.arg_key == "expression":
        # What is NULL doesn't pass a filter.
        return [parent.this.copy() if _filters(parent) else _not_false(parent.this)]
    if isinstance(parent, exp.And) and _filters(parent) and not asks(parent.expression):
        return [parent.expression.copy()]  # DuckDB decides the cheap side first
    if isinstance(parent, exp.Filter) and node.arg_key == "this":
        return [parent.expression.this.copy()]
    return []


def _of_branch(node: exp.Expr, branch: exp.If) -> list[exp.Expr]:
    """Of `WHEN c THEN a` in CASE, or of `if(c, a, b)`."""
    earlier: list[exp.Expr] = []
    if isinstance(branch.parent, exp.Case) and branch.arg_key == "ifs":
        before = branch.parent.args["ifs"][: branch.index]
        earlier = [_not_true(_condition(other)) for other in before]
    if node.arg_key == "true":
        return [*earlier, _condition(branch)]
    if node.arg_key == "false":
        return [_not_true(_condition(branch))]
    return earlier


def _condition(branch: exp.If) -> exp.Expr:
    case = branch.parent
    if isinstance(case, exp.Case) and case.this is not None:
        return exp.EQ(this=exp.paren(case.this.copy()), expression=exp.paren(branch.this.copy()))
    condition: exp.Expr = branch.this.copy()
    return condition


def _not_true(condition: exp.Expr) -> exp.Expr:
    return _settled(condition, value=True)


def _not_false(condition: exp.Expr) -> exp.Expr:
    return _settled(condition, value=False)


def _settled(condition: exp.Expr, *, value: bool) -> exp.Expr:
    """`NOT (condition) IS value`, term by term: within IS, DuckDB asks for both sides of AND."""
    inner = condition.unnest()
    if isinstance(inner, exp.Not) and asks(inner):
        return _settled(inner.this, value=not value)
    if not isinstance(inner, exp.And | exp.Or) or not asks(inner):
        return _is_not(condition, exp.Boolean(this=value))
    terms: list[exp.Expr] = [exp.paren(_settled(t, value=value)) for t in inner.flatten()]
    return _join(exp.Or if isinstance(inner, exp.And) is value else exp.And, terms)


def _is_not(condition: exp.Expr, value: exp.Boolean) -> exp.Expr:
    return exp.Not(this=exp.Is(this=exp.paren(condition.copy()), expression=value))


def cheap_first(select: exp.Select) -> exp.Select:
    """The rule `guards`: what needs no model is decided before what does.

    DuckDB asks a model for both sides of AND and OR in a select list, in HAVING and in QUALIFY,
    for the rows that an aggregate's FILTER leaves out, and for the first part of
    `ai.filter(...) OR cheap` in WHERE, also of an AND in it.
    """
    if not any(asks(node) for node in select.find_all(exp.And, exp.Or, exp.Filter)):
        return select
    new = select.copy()
    new.meta[NAMED] = select.parent is None or isinstance(select.parent, exp.Create | exp.Copy)
    for junction in reversed(list(new.find_all(exp.And, exp.Or))):  # inner ones first
        if type(junction.parent) is not type(junction) and _of_block(junction, new):
            _order(junction)
    for filtered in list(new.find_all(exp.Filter)):
        if _of_block(filtered, new) and _keeps_its_name(filtered):
            _guard_aggregate(filtered)
    return new if new != select else select


def _of_block(node: exp.Expr, select: exp.Select) -> bool:
    return node.find_ancestor(exp.Query) is select


def _keeps_its_name(node: exp.Expr) -> bool:
    """Whether no column is named after the expression, or it gets its name back (`NAMED`)."""
    while isinstance(node.parent, exp.Expr) and not isinstance(node.parent, exp.Select):
        if isinstance(node.parent, exp.Alias):
            return True
        node = node.parent
    if node.arg_key != "expressions" or node.parent is None:
        return True
    return bool(node.parent.meta.get(NAMED))


def _order(junction: exp.Connector) -> None:
    terms = list(junction.flatten(unnest=False))
    cheap = [term for term in terms if not asks(term)]
    if not cheap or len(cheap) == len(terms) or not _keeps_its_name(junction):
        return
    if any(map(volatile, cheap)):
        return  # decided twice, it may be decided otherwise
    kind = type(junction)
    if not _filters(junction):
        passes = kind is exp.And
        first = _join(kind, cheap)
        guarded = exp.If(
            this=_is_not(first, exp.Boolean(this=not passes)),
            true=_join(kind, [*cheap, *(term for term in terms if asks(term))]),
        )
        junction.replace(_marked(exp.Case(ifs=[guarded], default=exp.Boolean(this=not passes))))
    elif junction.find_ancestor(exp.If) or kind is exp.Or or junction.find_ancestor(exp.Or):
        # AND right below WHERE is split by DuckDB, and its cheap terms are decided first.
        junction.replace(_join(kind, [*cheap, *(term for term in terms if asks(term))]))


def _join(kind: type[exp.Connector], terms: list[exp.Expr]) -> exp.Expr:
    joined = terms[0].copy()
    for term in terms[1:]:
        joined = kind(this=joined, expression=term.copy())
    return joined


def _filters(junction: exp.Expr) -> bool:
    """Whether only AND, OR and parentheses stand between it and WHERE, ON or WHEN.

    There DuckDB skips the right side of what is settled.
    """
    while isinstance(junction.parent, exp.And | exp.Or | exp.Paren):
        junction = junction.parent
    if isinstance(junction.parent, exp.If):
        case = junction.parent.parent
        return junction.arg_key == "this" and not (isinstance(case, exp.Case) and case.this)
    if isinstance(junction.parent, exp.Where):  # an aggregate's FILTER asks for both sides
        return not isinstance(junction.parent.parent, exp.Filter)
    return isinstance(junction.parent, exp.Join)


def _guard_aggregate(filtered: exp.Filter) -> None:
    """`max(ai.f(x)) FILTER (WHERE g)` to `max(CASE WHEN g THEN ai.f(x) END) FILTER (WHERE g)`."""
    if not isinstance(filtered.this, exp.AggFunc) or asks(filtered.expression):
        return
    if volatile(filtered.expression):
        return
    for inner in list(filtered.this.iter_expressions()):
        if asks(inner) and not isinstance(inner, exp.Distinct | exp.Order):
            guard = filtered.expression.this.copy()
            inner.replace(_marked(exp.Case(ifs=[exp.If(this=guard, true=inner.copy())])))


def _marked(case: exp.Case) -> exp.Case:
    case.meta[GUARDED] = True
    return case


def is_guarded(projection: exp.Expr) -> bool:
    """Whether the rule changed a part of it."""
    return any(case.meta.get(GUARDED) for case in projection.find_all(exp.Case))
