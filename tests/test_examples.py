from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import duckdb
import pytest
from conftest import answer

import sqlllm
from sqlllm import polars as ai
from sqlllm.cli import main
from sqlllm.models import registry

ROOT = Path(__file__).parent.parent
TOPICS = ("account", "billing", "bug", "delivery", "feature request", "praise")


class Script:
    """Runs what a user would run, in this process: what all of them load is loaded once."""

    def __init__(self, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.capsys, self.patch = capsys, patch
        patch.chdir(ROOT)

    def __call__(self, path: str, *arguments: str) -> str:
        """What a file prints."""
        self.patch.setattr(sys, "argv", [path, *arguments])
        return self._printed(Path(path).read_text(encoding="utf-8"), path)

    def code(self, text: str) -> str:
        """What a part of the README prints."""
        return self._printed(text, "README.md")

    def _printed(self, text: str, path: str) -> str:
        with sqlllm.connect() as db, ai.using(db):  # as a new process, no other session's usage
            names = {"__name__": "__main__", "__file__": str(ROOT / path)}
            exec(compile(text, path, "exec", dont_inherit=True), names)
        return self.capsys.readouterr().out


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Script:
    return Script(capsys, monkeypatch)


def process(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=check, cwd=ROOT
    )


def test_quickstart(script: Script) -> None:
    out = script("examples/quickstart.py")
    assert "feature request" in out
    assert "classify with minilm: 212 rows, 186 distinct, 186 sent" in out


def test_classify_csv(script: Script) -> None:
    out = script("examples/classify_csv.py", "examples/tickets.csv", "body", "topic")
    found = re.search(r"accuracy (0\.\d+) \((\d+) of 206 rows, 6 labels\)", out)
    assert found
    assert float(found[1]) > 0.5


@pytest.mark.parametrize(
    ("rows", "printed"),
    [
        (
            "text,gold,predicted\nWrong invoice,billing,bug\nApp crashes,bug,billing",
            "1.0000 (2 of 2",
        ),
        ("text,gold\nFive stars,5\nOne star,1\nNothing,", "(2 of 2 rows, 2 labels)"),
        ("text,gold\nFive stars,\n", "no row of"),
    ],
)
def test_classify_csv_compares_with_the_label_that_was_given(
    script: Script, tmp_path: Path, rows: str, printed: str
) -> None:
    (tmp_path / "rows.csv").write_text(rows)
    given = ("examples/classify_csv.py", str(tmp_path / "rows.csv"), "text", "gold")
    if "of 2" in printed:
        assert printed in script(*given)
    else:
        with pytest.raises(SystemExit, match="2"):
            script(*given)
        assert printed in script.capsys.readouterr().err


def test_rag(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = ("examples/rag.py", "How do I reset the hub?", "--database", str(tmp_path / "rag.duckdb"))
    with monkeypatch.context() as patch:
        patch.setenv("SQLLLM_HOME", str(tmp_path))
        out = script(*ask)
    assert "21 chunks, 21 of them embedded now" in out
    assert out.strip().endswith("Hint: run `sqlllm pull smollm2`")
    out = script(*ask)
    assert "21 chunks, 0 of them embedded now" in out
    assert re.search(r"│ +1 │ hub\.md#4 +│", out)
    assert re.search(r"\. \((hub|lamps)\.md#\d\)$|sqlllm pull smollm2", out.strip())


def test_polars_pipeline(script: Script) -> None:
    out = script("examples/polars_pipeline.py")
    assert "Enum(categories=['account', 'billing', 'bug'" in out
    asked = [line for line in out.splitlines() if line.startswith(("classify", "embed"))]
    assert asked[:2] == [
        "classify: 206 rows, 186 distinct, 186 sent",
        "classify: 206 rows, 186 distinct, 0 sent",
    ]
    assert "dusk lamp flickers" in out


@pytest.mark.filterwarnings("ignore")  # duckdb-engine's
def test_sqlalchemy_engine(script: Script) -> None:
    pytest.importorskip("duckdb_engine", reason="duckdb-engine is not installed")
    out = script("examples/sqlalchemy_engine.py").splitlines()
    assert out[-1] == "153 rows, 138 distinct, 138 sent"
    assert {line.partition(":")[0] for line in out[:-1]} == set(TOPICS)


@pytest.mark.filterwarnings("ignore")  # Ibis'
def test_ibis_expressions(script: Script) -> None:
    pytest.importorskip("ibis", reason="Ibis is not installed")
    out = script("examples/ibis_expressions.py")
    assert all(topic in out for topic in TOPICS)
    assert "dusk lamp flickers" in out


def readme() -> list[str]:
    return re.findall(
        r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )


def test_the_readmes_first_python_runs_as_printed() -> None:
    assert "minilm" in process("-c", readme()[0]).stdout


@pytest.mark.filterwarnings("ignore")  # those of Ibis and duckdb-engine
def test_the_readmes_other_python_runs_as_printed(script: Script, tmp_path: Path) -> None:
    others = readme()[1:]
    (polars,) = [text for text in others if "import polars" in text]
    assert "Array(Float32, shape=(384,))" in script.code(polars)
    (own,) = [text for text in others if "sqlllm.Model" in text]
    assert script.code(own) == "[('HELLO',)]\n"
    pytest.importorskip("duckdb_engine", reason="duckdb-engine is not installed")
    pytest.importorskip("ibis", reason="Ibis is not installed")
    ours = "\n".join(text for text in others if "sqlalchemy" in text or "ibis" in text)
    ours = ours.replace("my.duckdb", str(tmp_path / "my.duckdb"))
    assert script.code(ours).split() == ["billing", "billing"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("models",), "minilm"),
        (("functions",), "ai.classify"),
        (("sql", "SELECT ai.count_tokens('hello world') AS n"), "2"),
    ],
)
def test_command(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], expected: str
) -> None:
    assert main(list(arguments)) == 0
    assert expected in capsys.readouterr().out


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"sqlllm {sqlllm.__version__}\n"


def test_a_wrong_query_is_one_message_and_exit_1() -> None:
    done = process("-m", "sqlllm", "sql", "SELECT ai.embd('x')", check=False)
    assert done.returncode == 1
    assert done.stderr == "sqlllm: there is no function ai.embd\nHint: did you mean `embed`?\n"


JOBS = ROOT / "examples" / "jobs"
HERE, COMMAND = "/srv/jobs", "/srv/venv/bin/sqlllm "


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> sqlllm.FakeModel:
    """The nightly job in a folder of its own, on a model that answers at once."""
    for path in (*JOBS.iterdir(), ROOT / "examples" / "tickets.csv"):
        shutil.copy(path, tmp_path)
    fake = sqlllm.FakeModel(answer)
    monkeypatch.setitem(registry.BUILTIN, "minilm", fake)  # type: ignore[arg-type]
    monkeypatch.chdir(tmp_path)
    return fake


def counted() -> tuple[Any, ...]:
    with duckdb.connect("tickets.duckdb") as con:
        query = "SELECT (SELECT count(*) FROM topics), (SELECT count(*) FROM moods)"
        return con.execute(query).fetchall()[0]


def test_the_nightly_job(job: sqlllm.FakeModel) -> None:
    first = ["run", "tickets.toml", "--set", "until=2026-10-01"]
    assert main(first) == 0
    assert counted() == (82, 80)
    asked = len(job.inputs)
    assert main(["run", "tickets.toml"]) == 0
    assert counted() == (212, 206)
    assert asked < len(job.inputs) == 2 * 186  # two questions about each distinct text
    assert main(["run", "tickets.toml"]) == 0
    assert len(job.inputs) == 2 * 186
    with duckdb.connect() as con:
        con.execute("CREATE TABLE t AS FROM 'tickets.csv'")
        con.execute("UPDATE t SET body = 'I am angry now' WHERE id = 1")
        con.execute("COPY t TO 'tickets.csv' (HEADER)")
    assert main(["run", "tickets.toml"]) == 0
    assert job.inputs[2 * 186 :] == ["I am angry now"]  # the mood alone: topics are for new rows
    with duckdb.connect("tickets.duckdb") as con:
        assert con.execute("SELECT mood FROM moods WHERE id = 1").fetchall() == [("angry",)]


def airflow_command() -> str:
    """What the DAG runs, with stand-ins for the two classes of Airflow that it uses."""
    found: list[dict[str, Any]] = []

    class DAG:
        def __init__(self, name: str, **options: Any) -> None: ...

        def __enter__(self) -> None: ...

        def __exit__(self, *error: object) -> None: ...

    names = ["airflow", "airflow.sdk", "airflow.providers", "airflow.providers.standard"]
    names += [f"{names[-1]}.operators", f"{names[-1]}.operators.bash"]
    modules = {name: types.ModuleType(name) for name in names}
    modules["airflow.sdk"].DAG = DAG  # type: ignore[attr-defined]
    modules[names[-1]].BashOperator = lambda **given: found.append(given)  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        for name, module in modules.items():
            patch.setitem(sys.modules, name, module)
        source = (JOBS / "tickets_dag.py").read_text(encoding="utf-8")
        exec(compile(source, "tickets_dag.py", "exec"), {})
    (operator,) = found
    assert (operator["cwd"], operator["skip_on_exit_code"]) == (HERE, [3, 4])
    return str(operator["bash_command"])


def cron_command() -> str:
    line = (JOBS / "crontab").read_text().splitlines()[-1]
    fields = line.split(maxsplit=5)
    assert all(re.fullmatch(r"[\d*/,-]+", field) for field in fields[:5])
    assert fields[5].startswith(f"cd {HERE} && ")
    assert "%" not in fields[5].replace("\\%", "")  # cron would end the line there
    return fields[5].replace("\\%", "%").partition(" && ")[2].partition(" >>")[0]


def systemd_command() -> str:
    text = (JOBS / "sqlllm-tickets.service").read_text()
    assert f"WorkingDirectory={HERE}\n" in text
    return re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)[0]


@pytest.mark.parametrize("found", [airflow_command, cron_command, systemd_command])
def test_what_the_schedulers_start(job: sqlllm.FakeModel, found: Any) -> None:
    command = found().replace("{{ ds }}", "2026-10-01").replace("$(date +%F)", "2026-10-01")
    assert command.startswith(COMMAND)
    assert main(shlex.split(command)[1:]) == 0
    assert counted() == ((212, 206) if found is systemd_command else (82, 80))


def test_the_dag_in_airflow() -> None:
    models = pytest.importorskip("airflow.models", reason="Airflow is not installed")
    bag = models.DagBag(str(JOBS / "tickets_dag.py"), include_examples=False)
    assert not bag.import_errors
    assert "tickets" in bag.dags


def test_the_units_of_systemd(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    units = []
    for path in JOBS.glob("sqlllm-*"):
        text = path.read_text().replace(HERE, str(tmp_path)).replace(COMMAND, "/bin/true ")
        units.append(tmp_path / path.name)
        units[-1].write_text(text)
    done = subprocess.run(
        [analyze, "verify", *map(str, units)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
