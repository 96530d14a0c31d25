from __future__ import annotations

import copy
import gc
import pickle
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

import sqlllm


def test_install_on_any_connection(fake: sqlllm.FakeModel, tmp_path: Path) -> None:
    path = str(tmp_path / "w.duckdb")
    con = duckdb.connect(path)
    sqlllm.install(con, models={"fake": fake}, model="fake")
    assert con.sql("SELECT ai.complete('a'), ai_complete('b')").fetchall() == [("A", "B")]
    con.execute("CREATE VIEW v AS SELECT ai.complete('c') AS x")
    assert con.cursor().execute("FROM v").fetchall() == [("C",)]
    con.close()
    plain = duckdb.connect(path)  # nothing but the view was written
    assert plain.execute(
        "SELECT count(*) FROM duckdb_functions() WHERE database_name = 'w'"
    ).fetchone() == (0,)
    plain.close()
    with sqlllm.connect(path, models={"fake": fake}, model="fake") as db:
        assert db.execute("FROM v").fetchall() == [("C",)]


def test_installing_again_and_outliving_the_first_connection(
    fake: sqlllm.FakeModel, tmp_path: Path
) -> None:
    path = str(tmp_path / "w.duckdb")
    first = sqlllm.connect(path, models={"fake": fake}, model="fake")
    second = sqlllm.connect(path, model="fake")
    assert second.execute("SELECT ai.complete('a')").fetchall() == [("A",)]
    first.close()
    del first
    gc.collect()
    assert second.execute("SELECT ai.complete('a'), ai.complete('b')").fetchall() == [("A", "B")]
    assert fake.inputs == ["a", "b"]
    second.close()


def test_import_is_light_and_exit_is_quiet() -> None:
    code = (
        "import sys, sqlllm; assert not {'torch', 'transformers'} & set(sys.modules);"
        "db = sqlllm.connect(); db.execute('FROM ai.usage'); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_the_command_line_answers_without_the_libraries_of_a_query() -> None:
    code = (
        "import contextlib, sys; from sqlllm.cli import main\n"
        "with contextlib.suppress(SystemExit): main(['--help'])\n"
        "assert not {'pyarrow', 'numpy', 'duckdb', 'sqlglot', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_import_is_fast() -> None:
    code = "import time; t = time.process_time(); import sqlllm; print(time.process_time() - t)"
    seconds = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for _ in range(3)
    ]
    assert min(seconds) < 0.3


def test_public_names() -> None:
    assert sorted(sqlllm.__all__) == sqlllm.__all__
    for name in sqlllm.__all__:
        assert getattr(sqlllm, name).__doc__, name


def test_read_only_database(fake: sqlllm.FakeModel, tmp_path: Path) -> None:
    path = str(tmp_path / "w.duckdb")
    duckdb.connect(path).execute("CREATE TABLE t AS SELECT 'a' AS x").close()
    with sqlllm.connect(path, read_only=True, models={"fake": fake}, model="fake") as db:
        assert db.execute("SELECT ai.complete(x) FROM t").fetchall() == [("A",)]


def test_a_model_has_the_name_that_each_installation_gave_it() -> None:
    for name in ("one", "two"):
        with sqlllm.connect(models={name: "minilm:"}) as db:
            db.execute(f"SELECT ai.embed('x', model := '{name}')").fetchall()
            assert db.execute("SELECT model FROM ai.usage WHERE this_session").fetchall() == [
                (name,)
            ]


def test_a_connection_can_be_copied_and_says_that_it_can_t_be_pickled(
    db: sqlllm.Connection,
) -> None:
    assert copy.copy(db).execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(db)
