"""One statement through the rules."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection
from itertools import count

import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel, SqlglotError, UnsupportedError

from sqlllm.errors import SqlllmError, excerpt, first_line
from sqlllm.rewrite import Columns
from sqlllm.rewrite.after_limit import after_limit
from sqlllm.rewrite.aliases import aliases
from sqlllm.rewrite.calls import asks
from sqlllm.rewrite.candidates import candidates, has_strategy
from sqlllm.rewrite.early_stop import early_stop
from sqlllm.rewrite.gather import Gatherer
from sqlllm.rewrite.guard import cheap_first, is_guarded
from sqlllm.rewrite.meaning import is_same
from sqlllm.rewrite.naming import has_unnamed, is_unnamed, keep_names, result_of, shown_of
from sqlllm.rewrite.over_lists import open_aggregates, unopened
from sqlllm.rewrite.parser import AiDuckDB, binds_otherwise
from sqlllm.rewrite.qualify import qualified
from sqlllm.rewrite.script import EXPLAIN, numbered, query_of, same_words
from sqlllm.rewrite.search import search
from sqlllm.rewrite.used import mark_used
from sqlllm.rewrite.windows import windows
from sqlllm.rewrite.writes import gather_write

ODD = ("<=>", "^@")
"""Operators that sqlglot takes for others, or binds otherwise."""

MOVING = frozenset({"windows", "after_limit", "early_stop"})
"""Rules that put FROM into a subquery, whose `*` has no rowid and no filename of a file."""

ANYWHERE = ("aliases", "guards")
"""Rules that need not know whether a row outside is meant."""

Rule = Callable[[exp.Select], exp.Select]


class Left(Exception):
    """Why a statement is left as it stands."""


def rewrite(
    statement: str, on: Collection[str], columns: Columns, notes: list[str], *, lazy: bool
) -> tuple[str, list[str]]:
    """The statement as DuckDB gets it, and the rules that fired.

    Args:
        statement: Its text.
        on: The rules that may be applied.
        columns: Where tables are looked up.
        notes: Gets why the statement is left as it stands.
        lazy: Whether its rows may be fetched in part only.

    A fault in a rule is logged (`sqlllm.rewrite`), and the statement left as it stands.
    """
    if "ai." not in statement.lower():
        return statement, []
    try:
        return _rewrite(statement, on, columns, lazy=lazy)
    except SqlllmError:
        raise
    except Left as left:
        why = str(left)
    except RecursionError:
        why = "it is nested too deeply"
    except Exception as error:
        logger = logging.getLogger("sqlllm.rewrite")
        logger.warning("a rule failed on %s: %r", excerpt(statement), error)
        logger.debug("where it failed", exc_info=True)
        why = f"a rule failed ({type(error).__name__}); please report it"
    notes.append(f"left as it stands: {why}")
    return statement, []


def _rewrite(
    statement: str, on: Collection[str], columns: Columns, *, lazy: bool
) -> tuple[str, list[str]]:
    explained = EXPLAIN.match(statement)
    prefix = explained[0] if explained else ""
    text = statement[len(prefix) :]
    tree = parse(text)
    shown = shown_of(tree)
    query = query_of(text) if shown is not tree else text
    if not _is_read_alike(tree, text):
        raise Left("to DuckDB it is another query than to sqlglot")
    plain, unnamed = (written(shown), _unnamed(shown)) if has_unnamed(shown) else ("", set())
    renamed = "aggregates" in on and open_aggregates(tree, result_of(shown), columns)
    if any(True for _ in unopened(tree)):
        raise Left("the rule `aggregates` is off")
    fired, qualifies = _apply(tree, on, columns, lazy)
    if not fired:
        return statement, []
    shown = shown_of(tree)
    guarded = any(is_unnamed(p) and is_guarded(p) for p in result_of(shown))
    renamed = renamed or qualifies or guarded or not _unnamed(shown) <= unnamed
    # DuckDB names a window as its function is written, others in lower case.
    named = not any(p.find(exp.Window) for p in result_of(shown) if is_unnamed(p))
    other = bool(plain) and (renamed or not named or not same_words(numbered(query), plain))
    # What DuckDB can't bind as it was written it can now.
    bound = written(shown) if other and "aliases" in fired else query
    if other and not keep_names(shown, bound, columns):
        if guarded:
            return _rewrite(statement, set(on) - {"guards"}, columns, lazy=lazy)
        raise Left("a column without a name would be renamed; write AS")
    made = written(tree)
    if not MOVING.isdisjoint(fired) and isinstance(shown, exp.Query):  # else it is run, too
        moved = made if shown is tree else written(shown)
        if _is_unbound(moved, query, columns):
            return _rewrite(statement, set(on) - MOVING, columns, lazy=lazy)
    return prefix + made, fired


def _unnamed(shown: exp.Expr) -> set[str]:
    """The columns that DuckDB names after their texts."""
    return {p.sql(AiDuckDB) for p in result_of(shown) if is_unnamed(p)}


def _is_read_alike(tree: exp.Expr, text: str) -> bool:
    """Whether DuckDB reads the query of a statement as sqlglot does."""
    query = tree.expression if isinstance(tree, exp.Insert) else shown_of(tree)
    if not isinstance(query, exp.Query) or (query is not tree and tree.args.get("with_")):
        return True
    return is_same(numbered(query_of(text) if query is not tree else text), written(query))


def _is_unbound(made: str, query: str, columns: Columns) -> bool:
    """Whether DuckDB can bind a query, but not what was made of it: within a transaction, trying
    to run that would end the transaction."""
    return columns(made) is None and columns(query) is not None


def written(tree: exp.Expr) -> str:
    """The text of a tree.

    Raises:
        Left: sqlglot would leave a part of it out.
    """
    try:
        return tree.sql(AiDuckDB, unsupported_level=ErrorLevel.IMMEDIATE)
    except UnsupportedError as error:
        raise Left(first_line(error)) from error


def parse(statement: str) -> exp.Expr:
    """The tree of a statement.

    Raises:
        Left: It may not be rewritten.
    """
    if any(operator in statement for operator in ODD):
        msg = f"sqlglot reads {' or '.join(ODD)} otherwise than DuckDB"
        raise Left(msg)
    logger = logging.getLogger("sqlglot")
    logger.addFilter(_silent)  # it warns of statements that it reads as a single word
    try:
        tree = sqlglot.parse_one(numbered(statement), dialect=AiDuckDB)
    except SqlglotError as error:
        raise Left("sqlglot can't parse the statement") from error
    finally:
        logger.removeFilter(_silent)
    why = _why_left(tree, statement)
    if why is not None:
        raise Left(why)
    return tree


def _why_left(tree: exp.Expr, statement: str) -> str | None:
    """What sqlglot reads or writes otherwise than DuckDB, or what isn't for the rules; or None."""
    if any(map(binds_otherwise, tree.find_all(exp.JSONExtract))):
        return "`a -> b` takes in what is beside it; write (a -> b)"
    if any(isinstance(found.this, exp.Cast) for found in tree.find_all(exp.Interval)):
        return "sqlglot takes the cast behind an INTERVAL into it"
    if any(c.name.upper() == "DEFAULT" and not c.this.quoted for c in tree.find_all(exp.Column)):
        return "sqlglot takes DEFAULT for a column"
    if isinstance(tree, exp.Merge) and re.search(r"\bBY\s+NAME\b", statement, re.IGNORECASE):
        return "sqlglot can't write INSERT BY NAME in MERGE"
    writes = exp.Insert | exp.Update | exp.Delete | exp.Merge
    if any(isinstance(cte.this, writes) for cte in tree.find_all(exp.CTE)):
        return "WITH writes, and DuckDB runs it to tell its columns"
    if "__ai_" in statement.lower():
        return "names with __ai_ are those of the rules"
    if isinstance(tree, exp.Command):
        return f"{tree.name.upper()} statements"
    if isinstance(tree, exp.Create) and tree.kind != "TABLE":
        return f"CREATE {tree.kind} keeps the text, for later queries"
    return None


def _silent(_record: logging.LogRecord) -> bool:
    return False


def _apply(
    tree: exp.Expr, on: Collection[str], columns: Columns, lazy: bool
) -> tuple[list[str], bool]:
    """Change the tree in place, innermost blocks first.

    Returns:
        The names of the rules that fired, and whether columns were written with their tables.
    """
    numbers = count(1)
    gatherer = Gatherer(numbers, lazy and isinstance(tree, exp.Query))
    mark_used(tree)
    rules: tuple[tuple[str, Rule], ...] = (
        ("aliases", lambda block: aliases(block, columns)),
        ("guards", cheap_first),
        ("candidates", lambda block: candidates(block, numbers)),
        ("windows", windows),
        ("after_limit", after_limit),
        ("early_stop", early_stop),
        ("search", lambda block: search(block, numbers, columns)),
        ("gather", gatherer.gather),
    )
    fired, renamed = [], False
    for name, rule in rules:
        if name not in on:
            continue
        for block in reversed(list(tree.find_all(exp.Select))):
            if _in_recursion(block) or not (name in ANYWHERE or _stands_alone(block)):
                continue
            new = rule(block)
            if new is block and _may_be_qualified(block, name):
                full = qualified(block, columns)
                if full is not None and (changed := rule(full)) is not full:
                    new, renamed = changed, True
            if new is not block:
                fired.append(name)
                _replace(block, new)
    if "gather" in on and isinstance(tree, exp.Update | exp.Delete):
        fired += ["gather"] if gather_write(tree, gatherer) else []
    return list(dict.fromkeys(fired)), renamed


def _replace(block: exp.Select, new: exp.Select) -> None:
    if block.parent is None:  # the tree itself
        block.args.clear()
        for part, value in list(new.args.items()):
            block.set(part, value)
    elif _is_part(block) and new.args.get("with_"):
        # DuckDB 1.4 can't bind a part with CTEs of its own.
        block.replace(exp.select("*").from_(new.subquery("__ai_part", copy=False)))
    else:
        block.replace(new)


def _is_part(block: exp.Select) -> bool:
    """Whether a set operation takes its rows, also in parentheses."""
    parent = block.parent
    while isinstance(parent, exp.Subquery):
        parent = parent.parent
    return isinstance(parent, exp.SetOperation)


def _may_be_qualified(block: exp.Select, rule: str) -> bool:
    """Whether a rule may need tables with the block's columns, and all else has a name."""
    if not block.args.get("joins") or not asks(block):
        return False
    if rule == "candidates":
        wanted = has_strategy(block)
    elif rule == "windows":
        wanted = block.find(exp.Window) is not None
    else:
        wanted = rule in ("after_limit", "early_stop") and bool(block.args.get("limit"))
    return wanted and (block.parent is None or not any(map(is_unnamed, block.expressions)))


def _in_recursion(block: exp.Select) -> bool:
    """Whether a block is part of a CTE that reads itself: what it has made so far."""
    cte = block.find_ancestor(exp.CTE)
    while cte is not None:
        name = cte.alias.lower()
        if any(not t.db and t.name.lower() == name for t in cte.this.find_all(exp.Table)):
            return True
        cte = cte.find_ancestor(exp.CTE)
    return False


def _stands_alone(block: exp.Select) -> bool:
    """Whether no row outside can be meant: not within an expression, a JOIN or a LATERAL.

    DuckDB lets any derived table but the first of its FROM refer to the tables before it.
    """
    node: exp.Expr = block
    while (parent := node.parent) is not None:
        inside = exp.Subquery | exp.SetOperation | exp.CTE | exp.With | exp.From
        if isinstance(parent, exp.Select):
            if not isinstance(node, exp.From | exp.With):
                return False
        elif isinstance(parent, exp.Insert | exp.Create | exp.Copy | exp.Merge):
            return True
        elif not isinstance(parent, inside):
            return False
        node = parent
    return True
