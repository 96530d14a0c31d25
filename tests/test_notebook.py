from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import sqlllm
from sqlllm.notebook import parsed
from sqlllm.runtime.cells import CellProgress
from sqlllm.runtime.progress import Work

EXAMPLES = Path(__file__).parent.parent / "examples"

SETUP = """
import os, time, sqlllm, polars as pl
def slow(task, text):
    time.sleep(0.02)
    return text.upper()
fake = sqlllm.FakeModel(slow, batch_size=5)
db = sqlllm.connect(models={"fake": fake}, model="fake")
result = pl.DataFrame({"x": ["a", "b", "b", None]})
n = 2
os.getpid()
"""

CELLS = {
    "setup": SETUP,
    "use": "%ai --connection db",
    "ask": "%%ai --arrow -o out -- two\nSELECT x, ai.complete(x) AS y FROM result LIMIT $n;",
    "out": "out.to_pylist(), fake.inputs",
    "pandas": "%%ai --pandas\nCREATE TEMP TABLE w AS SELECT {'k': 'v'} AS s; FROM w",
    "no rows": "%ai CREATE TEMP TABLE z AS SELECT 1",
    "line": "one = %ai SELECT {'k': 'v'} AS s\none.rows()",
    "analyze": "%ai --analyze SELECT ai.complete(x) FROM result",
    "long": "%%ai\nSELECT count(ai.complete('u' || i)) FROM range(3000) t(i)",
    "after": "len(fake.inputs) < 1000, db.execute(\"SELECT ai.complete('u0')\").fetchall()",
    "wrong name": "%ai SELECT ai.complet('x')",
    "wrong SQL": "%%ai\nSELEC 1",
    "comment": "%%ai\n-- nothing yet",
    "wrong option": "%ai --panda SELECT 1",
    "wrong connection": "%ai --connection result SELECT 1",
    "wrong variable": "%ai SELECT $nothing",
    "not ours": "%ai FROM magic_arg_s",
    "in Python": "db.execute(\"SELECT ai.complet('x')\")",
    "again": "%reload_ext sqlllm\n%ai SELECT 1 AS a",
    "gone": "%unload_ext sqlllm\n%ai SELECT 1",
}


def text(cell: Any) -> str:
    """What a cell shows where there is no HTML; its errors."""
    return "\n".join(
        output["data"].get("text/plain", "")
        if "data" in output
        else "\n".join(output.get("traceback", [output.get("text", "")]))
        for output in cell.outputs
    )


def shapes(cell: Any) -> list[tuple[str, list[str]]]:
    return [(output["output_type"], sorted(output.get("data", {}))) for output in cell.outputs]


def test_the_example_and_more_in_one_kernel() -> None:
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    kept = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    book = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    for cell in book.cells:
        cell.outputs = [] if cell.cell_type == "code" else cell.get("outputs")
    more = {name: nbformat.v4.new_code_cell(source) for name, source in CELLS.items()}
    book.cells += more.values()

    def interrupt() -> None:
        deadline = time.monotonic() + 100
        while not more["long"].outputs and time.monotonic() < deadline:
            time.sleep(0.05)  # until the bar is there
        os.kill(int(text(more["setup"])), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    nbclient.NotebookClient(
        book, allow_errors=True, timeout=100, resources={"metadata": {"path": str(EXAMPLES)}}
    ).execute()

    for cell, then in zip(book.cells, kept.cells, strict=False):
        if cell.cell_type == "code":
            assert shapes(cell) == shapes(then), text(cell)
            assert "error" not in dict(shapes(cell))
            assert "/" not in text(then).replace("://", "")  # no paths of a machine
    classify, usage = kept.cells[3], kept.cells[-1]
    assert text(classify).startswith("classify · minilm: 24 rows, 18 distinct, 18 sent, ")
    assert "classify  minilm    48        36      18    18" in text(usage)

    shown = {name: text(cell) for name, cell in more.items()}
    assert shapes(more["use"]) == []
    assert shapes(more["ask"]) == [("display_data", ["text/html", "text/plain"])]
    assert shown["ask"].startswith("complete · fake: 2 rows, 2 distinct, 2 sent, 4 tokens, ")
    assert shown["out"] == "([{'x': 'a', 'y': 'A'}, {'x': 'b', 'y': 'B'}], ['a', 'b'])"
    assert "{'k': 'v'}" in shown["pandas"]
    assert shapes(more["no rows"]) == []
    assert shown["line"] == "[({'k': 'v'},)]"
    assert "actual" in shown["analyze"]
    assert "complete · fake: 3,000 rows" in shown["long"]
    assert shown["long"].endswith("interrupted: answers that were there already are kept")
    assert shown["after"] == "(True, [('U0',)])"
    hint = "UnknownFunction: there is no function ai.complet\nHint: did you mean `complete`?"
    assert shown["wrong name"] == shown["in Python"] == hint
    assert shown["wrong SQL"].startswith("ParserException: Parser Error: syntax error at or near")
    assert "did you mean `--pandas`" in shown["wrong option"]
    assert shown["comment"].startswith("CallError: there is no SQL to run")
    assert "'result' is no connection" in shown["wrong connection"]
    assert "the notebook has no variable 'nothing'" in shown["wrong variable"]
    assert "Table with name magic_arg_s does not exist" in shown["not ours"]
    assert all(len(shown[name].splitlines()) < 8 for name in CELLS if name.startswith("wrong"))
    assert "shape: (1, 1)" in shown["again"]
    assert "%ai` not found" in shown["gone"]


@pytest.mark.parametrize(
    ("line", "given", "rest"),
    [
        ("", {}, ""),
        ("-- a comment", {}, "-- a comment"),
        ("-o x FROM t", {"out": "x"}, "FROM t"),
        ("--out=x -d 'my data.duckdb'", {"out": "x", "database": "my data.duckdb"}, ""),
        ("SELECT -o", {}, "SELECT -o"),
    ],
)
def test_options(line: str, given: dict[str, str], rest: str) -> None:
    assert parsed(line) == (given, rest)


@pytest.mark.parametrize("line", ["-o", "-o 1x", "--nothing"])
def test_wrong_options(line: str) -> None:
    with pytest.raises(sqlllm.CallError, match="Hint"):
        parsed(line)


def test_one_bar_for_all_calls_of_a_cell() -> None:
    pytest.importorskip("IPython", reason="IPython is not installed")

    class Shell:
        execution_count = 1

    progress = CellProgress(Shell())
    for sent in (3, 4):
        work = Work("embed · x", rows=9, distinct=8, cached=4)
        with progress.bar(work) as show:
            show()
            work.sent, work.tokens, work.seconds = sent, 10, 1.0
    (bar,) = progress._bars.values()
    total = bar.total()
    assert (total.rows, total.distinct, total.cached, total.sent, total.tokens) == (
        18,
        16,
        8,
        7,
        20,
    )


def test_ipython_is_not_needed() -> None:
    code = "import sys; sys.modules['IPython'] = None; import sqlllm; db = sqlllm.connect(); "
    code += "print(db.explain('SELECT 1')._repr_html_()[:9])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("<div><pre\n", "")


def test_a_plan_as_html(db: sqlllm.Connection, fake: sqlllm.FakeModel) -> None:
    plan = db.explain("SELECT ai.complete('<b>' || i) FROM range(9) t(i)")
    html = plan._repr_html_()
    assert "ai.complete(&#x27;&lt;b&gt;&#x27; || i)" in html
    assert "<b>" not in html
    assert "rules: gather" in html
    assert '<td style="text-align:right">9</td>' in html
    assert repr(plan) == str(plan)
    assert fake.inputs == []


def test_marimo() -> None:
    pytest.importorskip("marimo", reason="marimo is not installed")
    code = (
        "import marimo_app, sys\n"
        "from marimo._output.formatting import try_format\n"
        "from marimo._output.formatters.formatters import register_formatters\n"
        "register_formatters()\n"
        "outputs, names = marimo_app.app.run()\n"
        "print([try_format(o).mimetype for o in outputs if o is not None])\n"
        "print(len(names['topics']), names['db'].sql("
        "'SELECT sent FROM ai.usage WHERE this_session').fetchall())\n"
        "names['db'].close()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=EXAMPLES,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kinds, counts = done.stdout.strip().splitlines()[-2:]
    assert kinds.count("text/html") >= 1
    assert counts == "24 [(18,)]"


def test_the_extension_is_found_without_importing_it() -> None:
    assert callable(sqlllm.load_ipython_extension)
    assert importlib.util.find_spec("sqlllm.notebook") is not None
