"""What is typed: completion, where a statement ends, keys."""

from __future__ import annotations

import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import sqlllm
from sqlllm.cli import catalog
from sqlllm.cli.completion import Catalog, candidates
from sqlllm.cli.typed import is_complete, pieces

CATALOG = Catalog(
    tables={
        "tickets": {"id": "BIGINT", "body": "VARCHAR", '"first name"': "VARCHAR"},
        '"my table"': {"boo": "INTEGER"},
        "shop.orders": {"total": "DOUBLE"},
        "ai.usage": {"rows": "BIGINT"},
    },
    models={"minilm": "sentence-transformers", "smollm2": "language model"},
    functions=["bool_and", "lower"],
    keywords=frozenset(["select", "from", "where", "order", "both"]),
    commands={".mode": "", ".models": "", ".explain": ""},
    arguments={".mode": ("table", "csv")},
)


def found(before: str, after: str = "", *, asked: bool = True) -> list[str]:
    return [c.text for c in candidates(before, CATALOG, after, asked=asked)]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("SELECT bo", " FROM tickets", ["body", "BOTH", "bool_and("]),
        ("SELECT bo", " FROM shop.orders", ["BOTH", "bool_and("]),
        ("select bo", "", ["body", "boo", "both", "bool_and("]),  # of all tables, before a FROM
        ("SELECT 1; SELECT tot", " FROM shop.orders o; SELECT 2 FROM tickets", ["total"]),
        ("SELECT t.", " FROM tickets AS t", ["t.id", "t.body", 't."first name"']),
        ("SELECT t.B", " FROM tickets t", ["t.body"]),
        ("SELECT shop.orders.", "", ["shop.orders.total"]),
        ("FROM shop.", "", ["shop.orders"]),
        ('SELECT "fir', " FROM tickets", ['"first name"']),
        ("FROM my", "", ['"my table"']),
        ("FROM ai.us", "", ["ai.usage"]),
        ("FROM tickets WHERE ai.fil", "", ["ai.filter("]),
        ("SELECT clas", "", ["ai.classify(", "ai.classify_scores(", "ai.classify_labels("]),
        ("SELECT ai_clas", "", ["ai.classify(", "ai.classify_scores(", "ai.classify_labels("]),
        ("SELECT ai.try_emb", "", ["ai.try_embed("]),
        ("SELECT ai.classify(body, ['a'], none", "", ["none_of_these := "]),
        ("SELECT ai.classify(body, tempe", "", ["temperature := "]),
        ("SELECT ai.classify(body, temperature := 1, tempe", "", []),  # it has one
        ("SELECT lower(tempe", "", []),
        ("SELECT ai.embed(body, model := ", "", ["'minilm'", "'smollm2'"]),
        ("SELECT ai.embed(body, model := smo", "", ["'smollm2'"]),
        ("SELECT ai.embed(body, model := 'mi", "", ["'minilm'"]),
        ("SELECT ai.embed(body, on_error := ", "", ["'fail'", "'null'"]),
        ("SELECT ai.match(a, b, 'c', strategy := 'b", "", ["'blocking'"]),
        ("SELECT 'wher", "", []),
        ("SELECT 'it''s' || lo", "", ["lower("]),
        ("SELECT $$it's$$ || lo", "", ["lower("]),
        ("SELECT $a$ wher", "", []),
        ("SELECT 1 -- wher", "", []),
        ("SELECT 1 /* wher", "", []),
        ("SELECT 1 -- a 'quote\n wher", "", ["WHERE"]),
        (".mo", "", [".mode", ".models"]),
        (".mode c", "", ["csv"]),
        (".explain SELECT bo", " FROM tickets", ["body", "BOTH", "bool_and("]),
        (".nothing x", "", []),
    ],
)
def test_completion(before: str, after: str, expected: list[str]) -> None:
    assert found(before, after) == expected


def test_completion_says_what_each_is() -> None:
    about = {c.text: c.about for c in candidates("SELECT clas", CATALOG)}
    assert about["ai.classify("] == (
        "(text, labels, instruction :=, examples :=, none_of_these :=, …) → VARCHAR"
    )
    (body,) = candidates("SELECT bod", CATALOG, " FROM tickets")
    assert (body.about, body.replaces) == ("VARCHAR · tickets", 3)
    (option,) = candidates("SELECT ai.embed(body, tru", CATALOG)
    assert option.about.startswith("Read the beginning of a text")


def test_nothing_pops_up_where_nothing_was_begun() -> None:
    assert found("SELECT ", asked=False) == []
    assert len(found("SELECT ")) > 3
    assert found("SELECT * FROM ", asked=False)[0] == "tickets"
    assert found("SELECT ai.embed(body, model := ", asked=False) == ["'minilm'", "'smollm2'"]


def test_the_catalog_of_a_database(db: sqlllm.Connection) -> None:
    db.execute('CREATE TABLE tickets (id INT, "select" TEXT); CREATE TEMP TABLE tmp (a INT)')
    db.execute("CREATE SCHEMA s; CREATE VIEW s.\"My v\" AS SELECT 1 AS q; ATTACH ':memory:' AS x")
    db.execute("CREATE TABLE x.w (z INT)")
    read = catalog.read(db)
    ours = {name: dict(columns) for name, columns in read.tables.items() if "ai." not in name}
    assert ours == {
        "tickets": {"id": "INTEGER", '"select"': "VARCHAR"},
        "tmp": {"a": "INTEGER"},
        's."My v"': {"q": "INTEGER"},
        "x.w": {"z": "INTEGER"},
    }
    assert "this_session" in read.tables["ai.usage"]
    assert {"fake", "minilm"} <= set(read.models)
    assert {"select", "left", "by"} <= read.keywords
    assert "lower" in read.functions
    for name in ours:
        db.execute(f"SELECT * FROM {name}")


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        ("", True),
        ("SELECT 1", False),
        ("SELECT 1;", True),
        ("SELECT 1; -- ;", True),
        ("SELECT 1 -- ;", False),
        ("SELECT 'a;", False),
        ("SELECT $$;", False),
        ("SELECT 1; SELECT 2", False),
        (".tables", True),
        ("-- all\n.tables", True),
        ("-- all", False),
        (".explain SELECT 1", False),
        (".explain SELECT 1;", True),
        ("quit", True),
        ("EXIT;", True),
    ],
)
def test_where_enter_runs_it(text: str, complete: bool) -> None:
    assert is_complete(text) is complete


def test_a_script_in_pieces() -> None:
    script = "-- all\n\nSELECT 'a\n.b;\n'; SELECT\n2;\n.mode csv\n.explain SELECT\n1;\nSELECT 3"
    assert list(pieces(script)) == [
        "-- all\n\nSELECT 'a\n.b;\n'; SELECT\n2;",
        ".mode csv",
        ".explain SELECT\n1;",
        "SELECT 3",
    ]


def test_what_is_in_quotes_stays_as_it_is() -> None:
    odd = "SELECT 'a\u2028b\x85c\x0bd\x0ce\x1cf\rg\r\nh' AS x, E'it\\'s;\n', $q$;\n'$$\n;$q$, a$b$;"
    assert list(pieces(f"{odd}\n.mode csv\r\n{odd}\r\n")) == [odd, ".mode csv", odd]


def test_comments_before_a_command() -> None:
    script = "-- how rows look\n.mode csv\n/* a;\n.b */\n.rows 5\nSELECT 1; /* 2\n */ SELECT 3;\n"
    assert list(pieces(script)) == [".mode csv", ".rows 5", "SELECT 1; /* 2\n */ SELECT 3;"]
    assert list(pieces("/*\n.mode csv\n*/ SELECT 1;")) == ["/*\n.mode csv\n*/ SELECT 1;"]


def test_a_long_statement_with_semicolons_in_its_texts() -> None:
    rows = ",\n".join(f"({i}, 'Dear Sir; hello {i};\n')" for i in range(5000))
    began = time.monotonic()
    assert len(list(pieces(f"INSERT INTO t VALUES\n{rows};\nFROM t;"))) == 2
    assert time.monotonic() - began < 10  # minutes, if each line is read again for the next


Type = Callable[..., str]


@pytest.fixture
def typing(tmp_path: Path) -> Iterator[Type]:
    """Types keys into the editor and gives what it returns; lines are kept between calls.

    `then` is typed when the menu is there.
    """
    editing = pytest.importorskip("sqlllm.cli.editor", reason="prompt_toolkit is not installed")
    from prompt_toolkit.input import create_pipe_input
    from prompt_toolkit.output import DummyOutput

    with create_pipe_input() as keys:

        def type_(text: str, then: str = "") -> str:
            reader = editing.editor(
                lambda: CATALOG, tmp_path / "h" / "history", input=keys, output=DummyOutput()
            )

            def follow() -> None:
                while not reader.default_buffer.complete_state:
                    time.sleep(0.01)
                keys.send_text(then)

            keys.send_text(text)
            if then:
                threading.Thread(target=follow, daemon=True).start()
            return str(reader.prompt())

        yield type_


def test_keys(typing: Type, tmp_path: Path) -> None:
    assert typing("SELECT\r1;\r") == "SELECT\n1;"
    assert typing("SELECT ';\r';\r") == "SELECT ';\n';"
    assert typing(".tables\r") == ".tables"
    # The first Enter takes what Tab has chosen, the second runs it.
    assert typing("SELECT embe", "\t\r'x');\r") == "SELECT ai.embed('x');"
    with pytest.raises(KeyboardInterrupt):
        typing("SELECT 1\x03")
    with pytest.raises(EOFError):
        typing("\x04")
    assert typing("\x1b[A\r") == "SELECT ai.embed('x');"
    assert typing("\x12SELECT '\r\r") == "SELECT ';\n';"  # Ctrl-R
    history = tmp_path / "h" / "history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


def test_history_that_can_not_be_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    editing = pytest.importorskip("sqlllm.cli.editor", reason="prompt_toolkit is not installed")
    from prompt_toolkit.input import create_pipe_input
    from prompt_toolkit.output import DummyOutput

    (tmp_path / "file").write_text("")
    with create_pipe_input() as keys:
        reader = editing.editor(
            lambda: CATALOG, tmp_path / "file" / "history", input=keys, output=DummyOutput()
        )
        keys.send_text("SELECT 1;\r")
        assert reader.prompt() == "SELECT 1;"
        late = tmp_path / "history"
        reader = editing.editor(lambda: CATALOG, late, input=keys, output=DummyOutput())
        late.unlink()
        late.mkdir()
        keys.send_text("SELECT 2;\r\r")  # the second, where a fault waits for it
        assert reader.prompt() == "SELECT 2;"
        assert "Unhandled" not in capsys.readouterr().out
