from __future__ import annotations

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from conftest import answer

import sqlllm
from sqlllm.cli import main
from sqlllm.cli.session import Session


@pytest.fixture
def session(db: sqlllm.Connection) -> Session:
    db.execute("CREATE TABLE t AS FROM (VALUES (1, 'good'), (2, 'bad'), (3, 'good')) v(i, x)")
    return Session(db, talks=True)


Printed = Callable[[], tuple[str, str]]


@pytest.fixture
def printed(capfd: pytest.CaptureFixture[str], session: Session) -> Printed:
    """What was written since the last call to standard output and error."""
    capfd.readouterr()
    return lambda: tuple(capfd.readouterr())  # type: ignore[return-value]


def told(text: str) -> str:
    """With any time for another."""
    return re.sub(r"in [\d.]+ s", "in T s", text)


def test_rows_and_what_was_asked(
    session: Session, printed: Printed, fake: sqlllm.FakeModel
) -> None:
    assert session.run("SELECT i, ai.filter(x, 'good?') AS y FROM t ORDER BY i;")
    out, err = printed()
    assert [line.split()[1:4:2] for line in out.splitlines()[3:6]] == [
        ["1", "true"],
        ["2", "false"],
        ["3", "true"],
    ]
    assert told(err) == "3 rows in T s · 2 inputs, 0 cached, 2 sent, 2 tokens\n"
    assert session.run("SELECT ai.filter(x, 'good?') FROM t LIMIT 1; INSERT INTO t FROM t;")
    _, err = printed()
    assert told(err) == "1 row in T s · 1 inputs, 1 cached, 0 sent, 0 tokens\n3 rows in T s\n"
    assert fake.inputs == ["good", "bad"]
    assert session.run("CREATE TABLE u (a INT);")
    assert told(printed()[1]) == "done in T s\n"


def test_a_failed_statement_leaves_the_shell_running(session: Session, printed: Printed) -> None:
    assert not session.run("SELECT ai.clasify(x) FROM t;")
    assert printed()[1] == "there is no function ai.clasify\nHint: did you mean `classify`?\n"
    assert not session.run("SELECT 1 AS a; SELEC 2;")  # a syntax error: none of the line runs
    out, err = printed()
    assert (out, "syntax error" in err) == ("", True)
    assert not session.run(
        "CREATE TABLE w (a INT); SELECT CAST('no' AS INT); CREATE TABLE z (a INT);"
    )
    assert "no" in printed()[1]
    assert not session.run("FROM z;")
    assert "z does not exist" in printed()[1]
    assert session.run("FROM w;")
    assert not session.run("SELECT ai.complete(x, model := 'nope') FROM t;")
    assert "unknown model 'nope'\nHint: " in printed()[1]


def test_an_unexpected_fault_is_a_message_too(
    session: Session, printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sqlllm.cli.session.save", lambda *_, **__: 1 / 0)
    assert not session.run("SELECT 1;")
    assert printed()[1].startswith("ZeroDivisionError: ")
    monkeypatch.undo()
    assert session.run("SELECT 1;")


def test_ctrl_c_ends_the_query_after_the_batch_and_keeps_its_answers(printed: Printed) -> None:
    def slow(task: sqlllm.Task, text: str) -> str:
        if text == "t5" and fake.inputs.count(text) == 1:
            signal.raise_signal(signal.SIGINT)
        time.sleep(0.01)  # for the main thread, which notices it
        return str(answer(task, text))

    fake = sqlllm.FakeModel(slow, batch_size=4)
    with sqlllm.connect(models={"fake": fake}, model="fake") as db:
        session = Session(db, talks=True)
        query = "SELECT count(ai.complete('t' || i)) AS n FROM range(40) r(i);"
        assert not session.run(query)
        assert printed() == ("", "interrupted; what was answered is kept\n")
        sent = len(fake.inputs)
        assert 8 <= sent < 40
        session.mode = "csv"
        assert session.run(query)
        out, err = printed()
        assert out == "n\n40\n"
        assert f"40 inputs, {sent} cached, {40 - sent} sent" in err


def test_commands(session: Session, printed: Printed, tmp_path: Path) -> None:
    def out(command: str) -> str:
        assert session.run(command)
        out, err = printed()
        assert err == ""
        return out

    assert ".explain [analyze] SELECT ...;" in out(".help")
    assert "i INTEGER, x VARCHAR" in out(".tables")
    assert "fake" in out(".models")
    assert "ai.classify(text, labels, instruction :=," in out(".functions")
    assert out(".functions ai.embed").startswith("ai.embed(text, model := NULL")
    assert out(".mode") == "table\n"
    assert out(".rows 2") == ""
    assert session.run("FROM t;")
    assert "2 of 3 rows; `.mode csv` shows all" in printed()[0]
    assert out(".mode csv") == ""
    assert session.run("SELECT ai.filter(x, 'good?') AS y FROM t ORDER BY i")
    assert printed()[0] == "y\ntrue\nfalse\ntrue\n"
    assert out(".usage").splitlines()[1].startswith("filter,fake,3,0,2,")
    explained = out(".explain SELECT ai.filter(x, 'new?') FROM t;")
    assert "-- rules: gather" in explained
    assert re.search(r"fake +3 +2 +0 +2 ", explained)
    assert "actual" in out(".explain analyze SELECT ai.filter(x, 'new?') FROM t;")
    script = tmp_path / "a.sql"
    script.write_text("SELECT 1 AS a;\n.mode json\nSELECT 2 AS b")
    assert session.run(f".read {script}")
    assert printed()[0] == 'a\n1\n{"b":2}\n'
    with pytest.raises(EOFError):
        session.run(".quit")
    with pytest.raises(EOFError):
        session.run("exit;")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (".modles", "there is no command .modles\nHint: did you mean `.models`?\n"),
        (".mode xml", "there is no mode 'xml'\nHint: known are `csv`, `json`, "),
        (".rows many", "rows must be a whole number, 1 or more, not 'many'\n"),
        (".rows 0", "rows must be a whole number, 1 or more, not '0'\n"),
        (".tables t", ".tables takes nothing\nHint: write `.tables`\n"),
        (".read", ".read needs file\nHint: write `.read file`\n"),
        (".read nothing.sql", "nothing.sql can't be read: No such file or directory\n"),
        (".functions clasify", "there is no function ai.clasify\nHint: did you mean `classify`?\n"),
        (".explain", ".explain needs "),
        (".explain SELEC;", "Parser Error: "),
    ],
)
def test_wrong_commands(session: Session, printed: Printed, command: str, message: str) -> None:
    assert not session.run(command)
    assert printed()[1].startswith(message)
    assert session.run("SELECT 1;")


def test_completion_knows_new_tables_also_after_a_failed_transaction(session: Session) -> None:
    assert "t" in session.catalog().tables
    session.run("CREATE TABLE new (a INT);")
    assert "new" in session.catalog().tables
    session.run("BEGIN; SELECT CAST('no' AS INT);")
    session.catalog()
    session.run("ROLLBACK;")
    assert "new" in session.catalog().tables


def piped(monkeypatch: pytest.MonkeyPatch, text: str, *arguments: str) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    return main(["shell", *arguments])


def test_a_pipe_is_run_and_nothing_is_added(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = str(tmp_path / "d.duckdb")
    script = ".mode csv\nCREATE TABLE t AS SELECT 1 AS a;\nFROM t; SELECT 2 AS b;\nSELECT 3 AS c\n"
    assert piped(monkeypatch, script, path) == 0
    assert tuple(capfd.readouterr()) == ("a\n1\nb\n2\nc\n3\n", "")
    assert piped(monkeypatch, "FROM nothing;\nCREATE TABLE u (a INT);", "-d", path) == 1
    assert "sqlllm: Catalog Error: Table with name nothing" in capfd.readouterr().err
    assert piped(monkeypatch, "FROM t;\n.quit\nDROP TABLE t;", path) == 0
    with duckdb.connect(path) as con:
        assert con.execute("SHOW TABLES").fetchall() == [("t",)]


@pytest.mark.parametrize("command", ["shell", "sql"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_what_is_piped_is_read_to_the_character(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], command: str, encoding: str
) -> None:
    odd = "ü漢 \u2028;\x85\x0b\x1c\r\n"
    points = " || ".join(f"chr({ord(c)})" for c in odd)
    script = f"\ufeffCREATE TABLE t AS SELECT '{odd}' AS x;\r\nSELECT x = {points} AS y FROM t;\r\n"
    stdin = io.TextIOWrapper(io.BytesIO(script.encode()), encoding, newline=None)
    monkeypatch.setattr("sys.stdin", stdin)
    assert main([command]) == 0
    assert "│ true │" in capfd.readouterr().out


def test_a_script_that_is_read_keeps_its_texts(session: Session, tmp_path: Path) -> None:
    script = tmp_path / "a.sql"
    script.write_bytes("-- ü\n.rows 7\nCREATE TABLE w AS SELECT 'a\r\nb\u2028' AS x;".encode())
    assert session.run(f".read {script}")
    assert session.rows == 7
    assert session.db.execute("FROM w").fetchall() == [("a\r\nb\u2028",)]


def test_the_extra_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["shell"]) == 1
    assert capfd.readouterr().err == (
        "sqlllm: the shell needs prompt_toolkit, which is not installed\n"
        "Hint: run `pip install 'sqlllm[shell]'`; `sqlllm sql` works without\n"
    )


TERMINAL = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C is a signal
from sqlllm.cli import main
sys.exit(main(["shell"]))
"""


def test_on_a_terminal() -> None:
    pytest.importorskip("prompt_toolkit", reason="prompt_toolkit is not installed")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", TERMINAL],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"},
    )
    os.close(theirs)
    shown = ""

    def until(pattern: str, again: str = "") -> None:
        """Wait until that is on the terminal, styles and cursor movements aside."""
        nonlocal shown
        end = time.monotonic() + 60
        while not re.search(pattern, re.sub(r"\x1b\[[?\d;]*[a-zA-Z]", "", shown), re.DOTALL):
            assert time.monotonic() < end, shown
            if not select.select([ours], [], [], 1)[0]:
                keys(again)
                continue
            shown += os.read(ours, 100_000).decode(errors="replace")
        shown = ""

    def keys(text: str) -> None:
        os.write(ours, text.encode())

    until(r"Ctrl-D leaves.*sqlllm>")
    keys("SELECT 6 *\r7 AS n;\r")
    until(r"│ 42 │.*1 row in .*sqlllm>")
    keys("SELECT sum(a.range * b.range) FROM range(10000000) a, range(100000) b;\r")
    until(r"range\(100000\) b")
    until(r"interrupted.*sqlllm>", again="\x03")
    keys("SELECT nothing\x03")
    until(r"syntax error.*sqlllm>", again="SELEC;\r")
    keys("\x04")
    assert process.wait(60) == 0
    os.close(ours)
