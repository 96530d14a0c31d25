"""What may stand at the cursor: a function of the text before it and of what the database has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sqlllm.cli.functions import COMMON, listed, short
from sqlllm.cli.typed import TOKEN
from sqlllm.sql import Definition, definitions


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to go on.

    Attributes:
        text: What to write.
        replaces: Characters before the cursor that it takes the place of.
        about: What it is.
    """

    text: str
    replaces: int
    about: str = ""


@dataclass(frozen=True, slots=True)
class Catalog:
    """What a statement can name.

    Attributes:
        tables: Tables and views -> their columns -> types; all names as SQL writes them.
        models: Name -> what it is.
        functions: DuckDB's own.
        keywords: In lower case.
        commands: Those that begin with a dot -> what they do.
        arguments: Command -> what may stand behind it.
    """

    tables: Mapping[str, Mapping[str, str]]
    models: Mapping[str, str]
    functions: Sequence[str] = ()
    keywords: frozenset[str] = frozenset()
    commands: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, Sequence[str]] = field(default_factory=dict)


VALUES = {
    "on_error": ("'fail'", "'null'"),
    "truncate": ("true", "false"),
    "strategy": ("'exact'", "'blocking'", "'classify'"),
}
"""What an argument may be, where that is a matter of a few words."""

TABLE_NEXT = re.compile(r"\b(from|join|into|update|table|describe|summarize|view)\s+$", re.I)
SOURCE = re.compile(
    r"(?:\b(?:from|join|into|update)|,)\s+([\w.]*\"[^\"]+\"|[\w.]+)(?:\s+(?:as\s+)?(\w+))?", re.I
)
ARGUMENT_NEXT = re.compile(r"(\w+)\s*:=\s*$")
CALL = re.compile(r"\bai[._](\w+)\s*$", re.I)


def candidates(
    before: str, catalog: Catalog, after: str = "", *, asked: bool = True
) -> list[Candidate]:
    """How the text may go on at the cursor, the likeliest first.

    Args:
        before: The text before the cursor.
        catalog: What there is.
        after: The text behind it: a `FROM` there says whose columns are meant.
        asked: Whether the user wants to see all that fits; else nothing where nothing is begun.

    Example:
        >>> catalog = Catalog({"tickets": {"body": "VARCHAR"}}, {"minilm": "small"})
        >>> [c.text for c in candidates("SELECT bo", catalog, " FROM tickets")]
        ['body']
        >>> [c.text for c in candidates("SELECT ai.classify(body, model := ", catalog)]
        ["'minilm'"]
    """
    if before.startswith("."):
        command, space, rest = before.partition(" ")
        if not space:
            return list(_beginning(before, catalog.commands.items()))
        if command != ".explain":
            return list(_beginning(rest, ((a, "") for a in catalog.arguments.get(command, ()))))
        before = rest
    masked, opened, at = _masked(before)
    statement = masked.rpartition(";")[2]
    if opened == "comment":
        return []
    if opened == "string":
        argument = ARGUMENT_NEXT.search(statement)
        values = _values(argument[1], catalog) if argument else []
        return list(_beginning(before[at:], values))
    following = _masked(after)[0].partition(";")[0]
    tables = _sources(f"{statement} {following}", catalog)
    if opened == "name":
        columns = {name: kind for table in tables.values() for name, kind in table.items()}
        names = [*columns.items(), *((name, "table") for name in catalog.tables)]
        return list(_beginning(before[at:], ((_quoted(n), about) for n, about in names)))
    head = re.sub(r"[\w.]*\Z", "", statement)
    word = statement[len(head) :]
    argument = ARGUMENT_NEXT.search(head)
    if argument:
        return list(_beginning(word, _values(argument[1], catalog)))
    if "." in word:
        return list(_beginning(word, _members(word, tables, catalog)))
    if TABLE_NEXT.search(head):
        return list(_beginning(word, _relations(catalog)))
    return _anywhere(word, statement, tables, catalog) if word or asked else []


def _anywhere(
    word: str, statement: str, tables: Mapping[str, Mapping[str, str]], catalog: Catalog
) -> list[Candidate]:
    """What may stand where an expression may, or the next clause."""
    head = statement.removesuffix(word)
    found = [*_beginning(word, _arguments(head)), *_beginning(word, _columns(tables, catalog))]
    found += _beginning(word, ((name, "table") for name in tables))
    found += _functions(word)
    if word:
        upper = re.search(r"\b[A-Z]{2,}\b", statement) is not None
        words = (k.upper() if upper else k for k in sorted(catalog.keywords))
        found += _beginning(word, ((k, "") for k in words if k.lower() != word.lower()))
    if len(word) > 1:
        found += _beginning(word, ((f"{name}(", "") for name in catalog.functions))
    return list({candidate.text: candidate for candidate in reversed(found)}.values())[::-1]


def _beginning(word: str, names: Iterable[tuple[str, str]]) -> Iterator[Candidate]:
    """Those that begin with the word; quotes may still be missing."""
    start = word.lower()
    for name, about in names:
        bare = name.lower().lstrip("'\"")
        if name.lower().startswith(start) or (start and bare.startswith(start)):
            yield Candidate(name, len(word), about)


def _masked(text: str) -> tuple[str, str, int]:
    """The text without what is in quotes or comments; which of them is still open, and since where.

    Names in quotes are left as they are.
    """
    parts: list[str] = []
    for token in TOKEN.finditer(text):
        in_line = token["comment"] and token.end() == len(text) and token[0].startswith("--")
        if token["open"] or in_line:
            kind = {None: "comment", "/*": "comment", '"': "name"}.get(token["open"], "string")
            return "".join(parts), kind, token.start()
        parts.append("\0" if token["string"] else " " if token["comment"] else token[0])
    return "".join(parts), "", len(text)


def _values(argument: str, catalog: Catalog) -> list[tuple[str, str]]:
    if argument.lower() == "model":
        return [(f"'{name}'", about) for name, about in catalog.models.items()]
    return [(value, "") for value in VALUES.get(argument.lower(), ())]


def _sources(statement: str, catalog: Catalog) -> dict[str, Mapping[str, str]]:
    """The tables that a statement reads, by the names that it gives them -> their columns."""
    known = {name.lower(): columns for name, columns in catalog.tables.items()}
    found: dict[str, Mapping[str, str]] = {}
    for name, alias in SOURCE.findall(statement):
        columns = known.get(name.lower())
        if columns is not None:
            named = alias and alias.lower() not in catalog.keywords
            found[alias if named else name.rpartition(".")[2]] = columns
    return found


def _columns(
    tables: Mapping[str, Mapping[str, str]], catalog: Catalog
) -> Iterator[tuple[str, str]]:
    """Those of the tables that are read; of all, while none is."""
    if not tables:
        tables = {n: c for n, c in catalog.tables.items() if not n.startswith("ai.")}
    for table, columns in tables.items():
        for name, kind in columns.items():
            yield name, f"{kind} · {table}"


def _relations(catalog: Catalog) -> Iterator[tuple[str, str]]:
    for name, columns in catalog.tables.items():
        yield name, ", ".join(columns)
    for each in listed():
        if each.returns == "TABLE" and each.arguments:
            yield f"ai.{each.name}(", _signature(each)


def _members(
    word: str, tables: Mapping[str, Mapping[str, str]], catalog: Catalog
) -> Iterator[tuple[str, str]]:
    """What stands behind a dot."""
    owner = word.rpartition(".")[0]
    if owner.lower() == "ai":
        for each in listed(tries=word.lower().startswith("ai.try")):
            yield f"{owner}.{each.name}{'(' if each.arguments else ''}", _signature(each)
        return
    for name, columns in {**catalog.tables, **tables}.items():
        if name.lower() == owner.lower():
            yield from ((f"{owner}.{column}", kind) for column, kind in columns.items())
    yield from ((name, ", ".join(columns)) for name, columns in catalog.tables.items())


def _functions(word: str) -> Iterator[Candidate]:
    """Functions of `ai`, also where the word is their name alone."""
    start = re.sub("^ai_", "ai.", word.lower())
    for each in listed(tries=start.removeprefix("ai.").startswith("try")) if word else ():
        if each.arguments and f"ai.{each.name}".startswith((start, f"ai.{start}")):
            yield Candidate(f"ai.{each.name}(", len(word), _signature(each))


def _arguments(head: str) -> Iterator[tuple[str, str]]:
    """The named arguments of the call that the cursor is in, without those that it has."""
    depth, at = 0, len(head)
    for at in range(len(head) - 1, -1, -1):
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(head[at], 0)
        if depth > 0:
            break
    called = CALL.search(head[:at]) if depth > 0 else None
    name = called[1].lower() if called else ""
    each = next((d for d in definitions() if d.public and d.name == name), None)
    given = {name.lower() for name in re.findall(r"(\w+)\s*:=", head[at:])}
    for name, optional in each.arguments.items() if each else ():
        if optional and name not in given:
            yield f"{name} := ", COMMON.get(name, "").partition(".")[0].replace("`", "")


def _signature(definition: Definition) -> str:
    """Its arguments and what it returns."""
    arguments = short(definition).removeprefix(f"ai.{definition.name}")
    return f"{arguments} → {definition.returns}" if definition.arguments else definition.about


def _quoted(name: str) -> str:
    return name if name.endswith('"') else f'"{name}"'
