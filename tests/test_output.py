from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb
import pytest
from rich.cells import cell_len

import sqlllm
from sqlllm.cli import main
from sqlllm.jobs.result import save
from sqlllm.jobs.script import steps

ODD = """
SELECT * FROM (VALUES
    (1, 'a "quoted", b', [1, NULL], NULL, 170141183460469231731687303715884105727),
    (NULL, 'two' || chr(10) || 'lines | ü 漢', [], {'k': 'x''y'}, -1),
    (3, '', NULL, {'k': NULL}, 0)
) t(n, "te|xt", l, s, h)
"""

VALUES = [
    (1, 'a "quoted", b', [1, None], None, 2**127 - 1),
    (None, "two\nlines | ü 漢", [], {"k": "x'y"}, -1),
    (3, "", None, {"k": None}, 0),
]


def printed(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    capfd.readouterr()
    assert main(["sql", ODD, *arguments]) == 0
    return capfd.readouterr().out


def test_csv(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "o.csv"
    text = printed(capfd, "-o", "csv")
    path.write_text(text, newline="")
    types = (
        "{'n': 'INT', 'te|xt': 'VARCHAR', 'l': 'INT[]', 's': 'STRUCT(k VARCHAR)', 'h': 'HUGEINT'}"
    )
    query = f"FROM read_csv('{path}', columns = {types}, allow_quoted_nulls = false)"
    assert duckdb.execute(query).fetchall() == VALUES
    assert text.splitlines()[0] == "n,te|xt,l,s,h"
    assert text.endswith("\n3,\"\",,{'k': NULL},0\n")


def test_json(capfd: pytest.CaptureFixture[str]) -> None:
    rows = [tuple(json.loads(line).values()) for line in printed(capfd, "-o", "json").splitlines()]
    assert rows == VALUES


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "o.parquet"
    assert main(["sql", ODD, "--to", str(path)]) == 0
    found = duckdb.execute(f"SELECT * REPLACE (h::DOUBLE AS h) FROM '{path}'").fetchall()
    assert [row[:4] for row in found] == [row[:4] for row in VALUES]


def test_markdown(capfd: pytest.CaptureFixture[str]) -> None:
    assert printed(capfd, "-o", "markdown").splitlines() == [
        "| n | te\\|xt | l | s | h |",
        "| --- | --- | --- | --- | --- |",
        '| 1 | a "quoted", b | [1, NULL] | NULL | 170141183460469231731687303715884105727 |',
        "| NULL | two<br>lines \\| ü 漢 | [] | {'k': 'x\\\\'y'} | -1 |",
        "| 3 |  | NULL | {'k': NULL} | 0 |",
    ]


def test_a_table_in_a_pipe_is_as_wide_as_it_takes(capfd: pytest.CaptureFixture[str]) -> None:
    query = (
        "SELECT repeat('x', 300) AS a, '[bold]' AS b, chr(27) || '[2J' AS c, chr(155) || '2J' AS d"
    )
    assert main(["sql", query]) == 0
    out = capfd.readouterr().out
    assert "�2J" in out
    assert "\x9b" not in out
    assert "x" * 300 in out
    assert "[bold]" in out
    assert "\x1b" not in out
    assert "␛[2J" in out


@pytest.mark.parametrize("screen", [None, os.terminal_size((30, 24))])
def test_one_column_with_an_empty_string(tmp_path: Path, screen: os.terminal_size | None) -> None:
    with sqlllm.connect(record=False) as db:
        (step,) = steps(db, "SELECT unnest(['', NULL, 'x']) AS a")
        assert save(db, step, tmp_path / "t", "table", screen=screen) == 3
        rows = without_styles((tmp_path / "t").read_text())[3:6]
        assert [row.strip("│ ") for row in rows] == ["", "NULL", "x"]
        assert save(db, step, tmp_path / "m", "markdown") == 3
        assert (tmp_path / "m").read_text() == "| a |\n| --- |\n|  |\n| NULL |\n| x |\n"


TYPES = """
CREATE TABLE t (d TIMETZ, b BIT, l BIT[], j JSON, "z""z" TIMESTAMPTZ, h HUGEINT, n INT);
SET TimeZone = 'Asia/Tokyo';
INSERT INTO t VALUES ('10:00:00+02', '101', ['1'], '{"a": [1]}', '2026-01-01 00:00:00+00', 5, NULL)
"""


@pytest.mark.parametrize("form", ["csv", "json", "markdown"])
def test_what_returning_gives_reads_as_from_select(form: str, tmp_path: Path) -> None:
    with sqlllm.connect(record=False) as db:
        *before, insert = steps(db, f"{TYPES} RETURNING *")
        for step in before:
            db.execute(step.text)
        save(db, insert, tmp_path / "returned", form)
        (select,) = steps(db, "FROM t")
        save(db, select, tmp_path / "selected", form)
    found = (tmp_path / "returned").read_text()
    assert found == (tmp_path / "selected").read_text()
    assert "10:00:00+02" in found


def on_a_terminal(query: str, columns: int = 60, lines: int = 24, **environ: str) -> str:
    """What `sqlllm sql` writes to a terminal of that size."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "sqlllm", "sql", query],
        stdout=theirs,
        env={
            **os.environ,
            "TERM": "xterm",
            "COLUMNS": str(columns),
            "LINES": str(lines),
            **environ,
        },
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # how Linux says that the other end is closed
        while part := os.read(ours, 100_000):
            shown += part
    os.close(ours)
    assert process.wait(60) == 0
    return shown.decode()


def without_styles(text: str) -> list[str]:
    return re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()


def test_a_table_on_a_terminal_fits_it_and_tells_null_from_a_text() -> None:
    shown = on_a_terminal(
        "SELECT repeat('word ', 60) AS a, i, [NULL, 'NULL', ''][i + 1] AS n FROM range(3) t(i)"
    )
    lines = without_styles(shown)
    assert max(map(len, lines)) == 60
    assert len(lines) <= 24
    assert sum("…" in line for line in lines) == 3
    assert shown.count("\x1b[2mNULL\x1b[0m") == 1
    assert [line.count("NULL") for line in lines if "│ 0 │" in line or "│ 1 │" in line] == [1, 1]


def drawn(query: str, columns: int, lines: int) -> list[str]:
    """A table as a screen of that size gets it."""
    with sqlllm.connect(record=False) as db, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table"
        (step,) = steps(db, query)
        save(db, step, path, "table", screen=os.terminal_size((columns, lines)))
        return without_styles(path.read_text())


def test_a_row_a_line_where_there_are_many_and_one_row_whole() -> None:
    many = drawn("SELECT i, repeat('漢', 40) || chr(10) || 'x' AS a FROM range(30) t(i)", 30, 24)
    assert len(many) == 34
    assert {cell_len(line) for line in many} == {30}
    assert many[3] == "│  0 │ 漢漢漢漢漢漢漢漢漢漢… │"
    one = drawn("SELECT repeat('a ', 500) || 'end' AS a, '' AS b", 40, 10)
    assert max(map(len, one)) <= 40
    assert "end" in "".join(one)
    assert "…" not in "".join(one)


def test_tabs_and_names_of_two_lines_are_whole(capfd: pytest.CaptureFixture[str]) -> None:
    query = """SELECT 'f:' || chr(10) || chr(9) || '漢' || chr(9) || 'end' AS "a long
    name", 1 AS b"""
    assert main(["sql", query]) == 0
    for lines in (capfd.readouterr().out.splitlines(), drawn(query, 40, 24)):
        assert "…" not in "".join(lines)
        assert "a long␊    name" in lines[1]
        assert "│         漢       end" in lines[4]
        assert len({cell_len(line) for line in lines}) == 1


def test_columns_that_do_not_fit_are_left_out_and_counted() -> None:
    query = "SELECT " + ", ".join(f"'value {n}' AS c{n}" for n in range(40))
    shown = drawn(query, 60, 24)
    assert max(map(len, shown)) <= 60
    assert shown[1].split()[1:4:2] == ["c0", "c1"]
    assert "c39" in shown[1]
    assert shown[-1] == "5 of 40 columns; `--output csv` writes all"


def test_emoji_flags_and_marks_keep_the_frame_straight() -> None:
    shown = drawn("SELECT unnest(['👨‍👩‍👧', '漢字', 'e\u0301', '🇩🇪', '❤️']) AS a, 1 AS b", 30, 24)
    assert len({cell_len(line) for line in shown}) == 1


def test_a_long_table_says_what_it_leaves_out(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", "FROM range(1500) t(i)"]) == 0
    out = capfd.readouterr().out
    assert "│ 999 " in out
    assert "│ 1000 " not in out
    assert out.endswith("\n1,000 of 1,500 rows; `--output csv` writes all\n")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("CREATE TABLE t(a INT); INSERT INTO t VALUES (1), (2) RETURNING a", "a\n1\n2\n"),
        ("CREATE TABLE t(a INT); INSERT INTO t VALUES (1)", ""),
        ("CREATE TABLE t(a INT); SHOW TABLES -- all\n;", "name\nt\n"),
        (
            "SELECT 1 AS a; SELECT a, a AS b FROM range(2) t(a) ORDER BY a DESC; -- x",
            "a,b\n1,1\n0,0\n",
        ),
        ("SELECT now() < TIMESTAMPTZ '1970-01-01 00:00:00+00' AS t", "t\nfalse\n"),
        ("", ""),
        ("PIVOT (SELECT 1 AS b, '10:00:00+02'::TIMETZ AS t) ON b USING max(t)", "1\n10:00:00+02\n"),
    ],
)
def test_the_last_statement_is_printed(
    capfd: pytest.CaptureFixture[str], query: str, expected: str
) -> None:
    assert main(["sql", query, "--format", "csv"]) == 0
    assert capfd.readouterr().out == expected


def test_a_pipe() -> None:
    command = f"echo \"SELECT 'ü' AS a\" | {sys.executable} -m sqlllm sql - -o csv | cat"
    done = subprocess.run(command, shell=True, capture_output=True, check=True)
    assert done.stdout.decode() == "a\nü\n"
    head = f"echo 'FROM range(1000000)' | {sys.executable} -m sqlllm sql -o csv | head -1"
    done = subprocess.run(head, shell=True, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"range\n", b"")


@pytest.mark.parametrize(
    "command",
    ["functions", "doctor --no-speed", "shell d < script", "sql 'EXPLAIN FROM range(9)'"],
)
def test_whoever_reads_may_stop_reading(command: str, tmp_path: Path) -> None:
    script = ".functions\n" * 40 + "EXPLAIN SELECT 1; CREATE TABLE t (a INT);"
    (tmp_path / "script").write_text(script)
    head = f"{sys.executable} -m sqlllm {command} | head -1; echo ${{PIPESTATUS[0]}}"
    environ = {**os.environ, "PYTHONPATH": str(Path(sqlllm.__file__).parents[1])}
    done = subprocess.run(
        ["bash", "-c", head], capture_output=True, check=True, cwd=tmp_path, env=environ
    )
    assert done.stderr == b""
    assert done.stdout.splitlines()[-1] == b"0"
    if "shell" in command:
        with duckdb.connect(str(tmp_path / "d")) as con:
            assert con.execute("SHOW TABLES").fetchall() == [("t",)]


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_what_is_no_text_is_refused(
    errors: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(b"SELECT '\xff'"), "utf-8", errors)
    monkeypatch.setattr("sys.stdin", stdin)
    assert main(["sql"]) == 1
    assert capfd.readouterr().err.startswith("sqlllm: standard input is not UTF-8")


def test_what_a_message_quotes_does_not_steer_the_terminal(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    query = "SELECT CAST(chr(27) || '[2J' AS INT)"
    monkeypatch.setattr("sys.stdin", io.StringIO(query))
    for arguments in (["sql", query], ["shell"]):
        assert main(arguments) == 1
        err = capfd.readouterr().err
        assert "'␛[2J'" in err
        assert "\x1b" not in err


@pytest.mark.parametrize("command", ["functions", "usage", "usage --json", "explain 'SELECT 1'"])
def test_a_full_disk_behind_standard_output_is_one_line(command: str) -> None:
    full = f"{sys.executable} -m sqlllm {command} > /dev/full"
    done = subprocess.run(full, shell=True, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "sqlllm: the output can't be written: No space left on device\n"


@pytest.mark.parametrize("command", ["functions", "doctor --no-speed", "explain \"SELECT '漢'\""])
def test_an_encoding_without_our_signs_is_no_fault(command: str) -> None:
    run = f"{sys.executable} -m sqlllm {command}"
    environ = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(run, shell=True, capture_output=True, env=environ)
    assert done.stderr == b""
    assert b"\\u" in done.stdout


def test_ctrl_d_at_a_question_is_a_no(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["sql", "SELECT ai.embed('a')"]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    capsys.readouterr()
    assert main(["cache", "clear"]) == 1
    assert tuple(capsys.readouterr()) == ("Drop the answers of all models? [y/N] \n", "")


def test_standard_input_that_is_closed_is_empty() -> None:
    for command in ("sql", "shell"):
        run = f"{sys.executable} -m sqlllm {command} <&-"
        done = subprocess.run(run, shell=True, capture_output=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_an_argument_that_is_no_text_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["sql", "SELECT '\udcff'"])
    assert "not UTF-8: \"SELECT '\\udcff'\"" in capsys.readouterr().err


def test_lists_of_the_commands_are_whole_in_a_pipe(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["functions"]) == 0
    out = capfd.readouterr().out
    assert "ai.search(table_name, query, k := 10, text := 'text', embedding :=" in out
    assert "STRUCT(flagged BOOLEAN, category VARCHAR, score DOUBLE)" in out
