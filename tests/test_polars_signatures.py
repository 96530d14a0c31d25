from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import polars as pl
from test_polars import METHODS

from sqlllm import polars as ai
from sqlllm.polars.functions import Expressions, Functions, public, row_of, signature_of
from sqlllm.polars.stub import stub

ROOT = Path(__file__).parent.parent

ONLY_POLARS = """
[mypy]
strict = true
ignore_missing_imports = true
follow_imports = skip
[mypy-polars.*,sqlllm.polars.*]
follow_imports = normal
"""  # reading torch as well takes minutes, and `make types` does


def test_no_function_is_left_out() -> None:
    names = {d.name for d in public()}
    assert {name.removeprefix("try_") for name in names} == {
        *METHODS, "agg", "summarize_agg", "rrf",
    }  # fmt: skip
    for name in names:
        assert callable(getattr(ai, name))
        assert name in ai.__all__
        assert name in dir(pl.col("x").ai)
        assert getattr(Expressions, name).__doc__ == getattr(ai, name).__doc__ != ""


def test_names_and_defaults_are_those_of_sql() -> None:
    for definition in public():
        if definition.name == "prompt":
            continue
        signature = inspect.signature(getattr(ai, definition.name))
        assert list(signature.parameters) == list(definition.arguments)
        method = inspect.signature(getattr(Expressions, definition.name))
        expected = ["self", *definition.arguments]
        expected.remove(row_of(definition))
        assert list(method.parameters) == expected
    assert str(signature_of(next(d for d in public() if d.name == "redact"))) == (
        "(text, *, entities=None, mode='mask', region=None, model=None, temperature=0, "
        "max_tokens=None, seed=None, on_error=None)"
    )
    match = inspect.signature(ai.match).parameters
    assert (match["recall"].default, match["truncate"].default) == (0.95, False)


def test_the_stub_is_in_step_with_sql() -> None:
    written = (ROOT / "sqlllm" / "polars" / "functions.pyi").read_text(encoding="utf-8")
    made = [sys.executable, "-m", "ruff", "format", "--stdin-filename", "functions.pyi", "-"]
    formatted = subprocess.run(
        made, input=stub(), capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    assert written == formatted, "run `make reference`"


def test_editors_and_type_checkers_know_the_functions(tmp_path: Path) -> None:
    assert Functions.classify.__qualname__
    code = tmp_path / "user.py"
    code.write_text(
        "import polars as pl\n"
        "from sqlllm import polars as ai\n"
        "reveal_type(ai.classify(pl.col('x'), ['a', 'b'], truncate=True))\n"
        "ai.classify(pl.col('x'), ['a', 'b'], modle='m')\n"
    )
    settings = tmp_path / "mypy.ini"
    settings.write_text(ONLY_POLARS)
    command = [sys.executable, "-m", "mypy", "--config-file", settings, "--cache-dir", tmp_path]
    done = subprocess.run([*command, code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert 'Revealed type is "polars.expr.expr.Expr"' in done.stdout
    assert 'Unexpected keyword argument "modle"' in done.stdout
