from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*command: str, **environ: str) -> str:
    env = os.environ | environ
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=True, cwd=ROOT, env=env
    )
    return done.stdout


def test_quickstart() -> None:
    out = run("examples/quickstart.py")
    assert "feature request" in out
    assert "classify with minilm: 212 rows, 186 distinct, 186 sent" in out


def test_classify_csv() -> None:
    out = run("examples/classify_csv.py", "examples/tickets.csv", "body", "topic")
    found = re.search(r"accuracy (0\.\d+) \((\d+) of 206 rows, 6 labels\)", out)
    assert found
    assert float(found[1]) > 0.5


def test_rag(tmp_path: Path) -> None:
    ask = ("examples/rag.py", "How do I reset the hub?", "--database", str(tmp_path / "rag.duckdb"))
    out = run(*ask, SQLLLM_HOME=str(tmp_path))
    assert "21 chunks, 21 of them embedded now" in out
    assert out.strip().endswith("Hint: run `sqlllm pull smollm2`")
    out = run(*ask)
    assert "21 chunks, 0 of them embedded now" in out
    assert re.search(r"│ +1 │ hub\.md#4 +│", out)
    assert re.search(r"\. \((hub|lamps)\.md#\d\)$|sqlllm pull smollm2", out.strip())


def test_the_readmes_python_runs_as_printed() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert "minilm" in run("-c", code)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("models",), "minilm"),
        (("functions",), "ai.classify"),
        (("sql", "SELECT ai.count_tokens('hello world') AS n"), "2"),
    ],
)
def test_command(arguments: tuple[str, ...], expected: str) -> None:
    assert expected in run("-m", "sqlllm", *arguments)


def test_a_wrong_query_is_one_message_and_exit_1() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sqlllm", "sql", "SELECT ai.embd('x')"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "sqlllm: there is no function ai.embd\nHint: did you mean `embed`?\n"
