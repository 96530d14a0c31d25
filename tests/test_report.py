from __future__ import annotations

import shutil
import struct
import subprocess
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import duckdb
import pytest
from conftest import answer

import sqlllm
from sqlllm.cli import main
from sqlllm.models import registry
from sqlllm.report.content import without_keys

EVIL = "<script>alert(1)</script>"


class Page(HTMLParser):
    """What a report says: its texts by element, and the rows of its tables by caption."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.tags: list[str] = []
        self.references: list[str] = []
        self.words: dict[str, list[str]] = {}
        self.tables: list[list[list[str]]] = []
        self._open: list[str] = []
        self.feed(self.text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [k for k, _ in attrs if k in ("src", "href", "onload", "onerror")]
        if tag not in ("br", "meta"):
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag in ("pre", "summary", "h3", "li", "dd", "p", "h1"):
            self.words.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in self._open:
            if tag in ("td", "th"):
                self.tables[-1][-1][-1] += data
            elif tag in self.words:
                self.words[tag][-1] += data

    def rows(self, first: str, second: str) -> list[list[str]]:
        """Of all tables with a header that begins so."""
        return [row for t in self.tables if t[0][:2] == [first, second] for row in t[1:]]


def failing(task: sqlllm.Task, text: str) -> Any:
    if "boom" in text:
        msg = f"the model wrote {text!r}"
        raise sqlllm.BadAnswer(msg)
    return answer(task, text)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "report.html"


def job(tmp_path: Path, script: str, fake: sqlllm.FakeModel, **options: Any) -> sqlllm.RunResult:
    file = tmp_path / "job.sql"
    file.write_text(script, encoding="utf-8")
    options.setdefault("name", "tickets")
    return sqlllm.run(file, models={"fake": fake}, model="fake", embed_model="fake", **options)


def test_what_a_job_did(tmp_path: Path, path: Path) -> None:
    fake = sqlllm.FakeModel(failing, fingerprint="fp-1")
    script = f"""
        SET VARIABLE token = 'hush';
        CREATE TABLE t AS SELECT 'bug ' || i % 4 || '{EVIL}' AS x FROM range(20) r(i);
        CREATE TABLE topics AS
            SELECT ai_classify(x, ['bug', '<i>b</i>']) AS topic, ai.complete(x) AS y FROM t;
        SELECT ai.complete('boom', on_error := 'null') AS z, ai.complete('bug 1{EVIL}') AS w;
    """
    done = job(
        tmp_path, script, fake, report=path, to=tmp_path / "o.csv",
        variables={"day": "2026-11-26", "password": "hush"},
        prices={"fake": {"input": 1000, "output": 1000}},
    )  # fmt: skip
    assert (done.counts.rows, done.counts.sent, len(fake.inputs)) == (42, 9, 9)
    page = Page(path)
    assert page.words["h1"] == ["tickets"]
    assert page.words["p"][0].startswith("Done · 2")
    sums = ["42rows", "9inputs sent", "33calls saved (79%)"]
    assert page.words["li"][:3] == sums
    assert page.words["li"][-1] == "1errors"
    assert any(each.endswith("cost") for each in page.words["li"])
    assert "day = 2026-11-26, password = (4 characters)" in page.words["dd"]
    assert sqlllm.__version__ in page.words["dd"]
    assert [h.split(" · ")[:2] for h in page.words["h3"]] == [
        [f"Statement {i}", "done"] for i in (1, 2, 3, 4)
    ]
    written = [text for text in page.words["pre"] if text.startswith("CREATE TABLE topics")]
    assert "ai_classify(x, ['bug', '<i>b</i>'])" in written[0]
    assert "MATERIALIZED" in written[1]
    assert "As DuckDB got it, by the rules names, gather" in page.words["summary"]
    calls = [row[:6] for row in page.rows("function", "model")]
    assert ["classify", "fake", "20", "4", "0", "4"] in calls
    assert ["complete", "fake", "20", "4", "0", "4"] in calls
    assert ["complete", "fake", "2", "2", "1", "1"] in calls
    assert ["fake", "fake:fp-1"] in page.rows("model", "fingerprint")
    assert page.rows("errors", "function") == [["1", "complete", "fake", "the model wrote 'boom'"]]
    answers = page.rows("function", "answer")
    assert ["classify", "bug"] in answers
    assert ["complete", f"BUG 0{EVIL.upper()}"] in answers
    assert "hush" not in page.text
    assert f"bug 3{EVIL}".replace("<", "&lt;").replace(">", "&gt;") not in page.text  # a text
    assert not list(tmp_path.glob(".report*"))


def test_texts_and_samples_are_a_choice(tmp_path: Path, path: Path) -> None:
    script = (
        "SELECT ai.complete(x, on_error := 'null') FROM (VALUES ('a' || 1), ('boom' || 2)) t(x)"
    )
    job(tmp_path, script, sqlllm.FakeModel(failing), report=path, report_texts=True)
    page = Page(path)
    assert page.rows("function", "answer") == [["complete", "A1", "a1"]]
    assert page.rows("errors", "function")[0][3:] == ["the model wrote 'boom2'", "'boom2'"]
    job(tmp_path, script, sqlllm.FakeModel(failing), report=path, report_samples=0)
    page = Page(path)
    assert page.rows("function", "answer") == []
    assert page.rows("errors", "function")[0][3:] == ["the model wrote '…'"]
    assert "boom2" not in page.text
    assert "A1" not in page.text


@pytest.mark.parametrize("text", ["secret", "it's secret", "secret\nb", "a 'secret' b"])
@pytest.mark.parametrize("message", ["can't read {0!r}", "'fake' wrote '{0}'", 'is "{0}" it?'])
def test_without_samples_no_message_quotes_a_text(path: Path, text: str, message: str) -> None:
    def failing(task: sqlllm.Task, text: str) -> str:
        raise sqlllm.ModelError(message.format(text))

    with sqlllm.connect(models={"fake": sqlllm.FakeModel(failing)}, model="fake") as db:
        query = "SELECT ai.complete(x) FROM (SELECT $x AS x)"
        with pytest.raises(sqlllm.ModelError):
            db.execute(query, {"x": text})
        db.execute(query.replace("(x)", "(x, on_error := 'null')"), {"x": text})
        db.report(path, samples=0)
    assert "secret" not in path.read_text()
    assert Page(path).rows("errors", "function")[0][3].startswith(message.partition(" ")[0])


@pytest.mark.parametrize(
    "statement",
    [
        r"SET k = E'it\'s hush'",
        "CREATE /* for now */ SECRET s (TYPE http, BEARER_TOKEN 'hush')",
        "EXPLAIN CREATE OR REPLACE SECRET s (TYPE http, BEARER_TOKEN 'hush')",
    ],
)
def test_keys_are_not_shown_however_they_are_written(statement: str) -> None:
    assert "hush" not in without_keys(statement)


def test_without_samples_no_message_has_a_number_of_a_row(tmp_path: Path, path: Path) -> None:
    script = "SELECT CAST(x * 1000 AS TINYINT) FROM (SELECT 4111 AS x)"
    with pytest.raises(duckdb.ConversionException, match="4111000"):
        job(tmp_path, script, sqlllm.FakeModel(str), report=path, report_samples=0)
    assert "4111000" not in path.read_text()
    assert "Conversion Error: …" in Page(path).text


def test_nothing_is_markup_that_came_from_outside(db: sqlllm.Connection, path: Path) -> None:
    sql = f"""SELECT '{EVIL}', ai.complete(x) AS "{EVIL}",
        ai.classify(x, ['{EVIL}', '"><img src=x>', 'c'])
        FROM (VALUES ('{EVIL}'), ('<img src=x onerror=alert(1)>' || chr(0) || chr(27))) t(x)"""
    db.execute(sql).fetchall()
    db.report(path, texts=True)
    page = Page(path)
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert page.references == []
    assert "http:" not in page.text
    assert "https:" not in page.text
    assert "\x00" not in page.text
    assert "\x1b" not in page.text
    assert "default-src 'none'" in page.text.replace("&#x27;", "'")
    assert EVIL in page.words["pre"][0]
    assert ["complete", EVIL.upper(), EVIL] in page.rows("function", "answer")


def test_a_session(db: sqlllm.Connection, fake: sqlllm.FakeModel, path: Path) -> None:
    db.report(path)
    assert "Nothing was asked." in Page(path).words["p"]
    db.execute("CREATE TABLE t AS SELECT 'good ' || i % 3 AS x FROM range(9) r(i)")
    db.sql("SELECT ai.filter(x, 'q') FROM t").fetchall()
    db.cursor().execute("SELECT ai.embed(x) FROM t LIMIT 2").fetchall()
    with sqlllm.connect(models={"fake": sqlllm.FakeModel(failing)}, model="fake") as other:
        with pytest.raises(sqlllm.BadAnswer):
            other.execute("SELECT ai.complete('boom')")
        other.report(path)
    page = Page(path)
    assert page.words["h3"] == ["Statement 1 · failed"]
    assert "the model wrote 'boom'" in page.words["p"]
    db.explain("SELECT ai.filter(x, 'other') FROM t")
    db.report(path, samples=1)
    page = Page(path)
    assert page.words["h3"] == ["Statement 1 · done", "Statement 2 · done"]
    calls = [row[:6] for row in page.rows("function", "model")]
    assert calls == [
        ["filter", "fake", "9", "3", "0", "3"],
        ["embed", "fake", "2", "2", "0", "2"],
    ]
    assert page.rows("function", "answer") == [
        ["filter", "True"],
        ["embed", "[0.98, 0.14, 0.14]"],
    ]
    assert len(fake.inputs) == 5


@pytest.mark.parametrize(
    ("options", "error", "state"),
    [
        ({"max_calls": 2}, sqlllm.BudgetExceeded, "Stopped: a budget is used up"),
        ({}, Exception, "Failed"),
    ],
)
def test_a_run_that_ends_early_has_a_report(
    tmp_path: Path,
    path: Path,
    fake: sqlllm.FakeModel,
    options: dict[str, Any],
    error: type,
    state: str,
) -> None:
    script = (
        "SELECT ai.complete('a'); SELECT ai.complete('b'), ai.complete('c'), error('no'); SELECT 3"
    )
    with pytest.raises(error):
        job(tmp_path, script, fake, report=path, budgets=options)
    page = Page(path)
    assert page.words["p"][0].startswith(state)
    states = [h.split(" · ")[1] for h in page.words["h3"]]
    assert states == ["done", "failed", "not run"]


def test_only_a_report_is_replaced(
    tmp_path: Path, path: Path, fake: sqlllm.FakeModel, db: sqlllm.Connection
) -> None:
    other = tmp_path / "w.duckdb"
    other.write_text("data")
    for wrong, why in (
        (tmp_path, "is a folder"),
        (other, "is no report"),
        (tmp_path / "none" / "r.html", "there is no folder"),
    ):
        with pytest.raises(sqlllm.ConfigError, match=why):
            db.report(wrong)
        with pytest.raises(sqlllm.ConfigError, match=why):
            job(tmp_path, "SELECT ai.complete('a')", fake, report=wrong)
    with pytest.raises(sqlllm.ConfigError, match="0 to 10, not 11"):
        db.report(path, samples=11)
    assert fake.inputs == []
    assert other.read_text() == "data"
    db.report(path)
    first = path.stat().st_ino
    db.report(path)
    assert path.stat().st_ino != first  # another file took its place


def test_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    fake = sqlllm.FakeModel(answer)
    monkeypatch.setitem(registry.BUILTIN, "minilm", fake)  # type: ignore[arg-type]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.sql").write_text("SELECT ai.classify('bug', ['a', 'bug']) AS topic")
    (tmp_path / "job.toml").write_text('script = "job.sql"\nreport = "r.html"\nreport_samples = 0')
    assert main(["run", "job.sql", "--report", "job.sql"]) == 2
    assert "is no report" in capfd.readouterr().err
    assert main(["run", "job.sql", "--report", "r.html", "--report-texts"]) == 0
    assert Page(tmp_path / "r.html").rows("function", "answer") == [["classify", "bug", "bug"]]
    assert main(["run", "job.toml"]) == 0
    assert Page(tmp_path / "r.html").rows("function", "answer") == []


def test_a_last_select_that_cant_be_bound_ends_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.BUILTIN, "minilm", sqlllm.FakeModel(answer))  # type: ignore[arg-type]
    script = tmp_path / "job.sql"
    script.write_text(
        "CREATE TABLE a AS SELECT 'x' AS x; CREATE TABLE b AS FROM a; "
        "SELECT x, ai.classify(a.x, ['a', 'b']) AS y FROM a JOIN b ON a.x = b.x"
    )
    assert main(["run", str(script)]) == 1


def pixels(png: bytes) -> tuple[int, int, set[bytes]]:
    """Width, height and colours of a PNG; its filters are undone."""
    width, height, depth, kind = struct.unpack(">IIBB", png[16:26])
    assert (depth, kind) in ((8, 2), (8, 6))
    size = 3 if kind == 2 else 4
    at, data = 8, b""
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + length]
        at += length + 12
    raw, colours = zlib.decompress(data), set()
    before = bytearray(width * size)
    for y in range(height):
        start = y * (width * size + 1)
        filtered, row = raw[start], bytearray(raw[start + 1 : start + 1 + width * size])
        if filtered:
            for i in range(len(row)):
                a = row[i - size] if i >= size else 0
                b, c = before[i], before[i - size] if i >= size else 0
                p = a + b - c
                near = min((a, b, c), key=lambda v: abs(p - v))
                row[i] = (row[i] + (0, a, b, (a + b) // 2, near)[filtered]) & 255
        colours |= {bytes(row[i : i + 3]) for i in range(0, len(row), size)}
        before = row
    return width, height, colours


def test_in_a_browser(db: sqlllm.Connection, path: Path, tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    db.execute("CREATE TABLE t AS SELECT 'good ' || i % 3 AS x FROM range(9) r(i)")
    db.execute("SELECT ai.filter(x, 'q') FROM t").fetchall()
    db.report(path)
    started = {}
    for name, scheme in (("light", 1), ("dark", 0)):
        command = [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={tmp_path / name}", f"--blink-settings=preferredColorScheme={scheme}",
            f"--screenshot={tmp_path / name}.png", "--window-size=600,600", path.as_uri(),
        ]  # fmt: skip
        quiet = subprocess.DEVNULL
        started[name] = subprocess.Popen(command, stdout=quiet, stderr=quiet)
    found = {}
    for name, process in started.items():
        assert process.wait(timeout=120) == 0
        width, height, found[name] = pixels((tmp_path / f"{name}.png").read_bytes())
        assert (width, height) == (600, 600)
        assert len(found[name]) > 50
    assert bytes.fromhex("ffffff") in found["light"]
    assert bytes.fromhex("2f6fdd") in found["light"]  # the bar of what was sent
    assert bytes.fromhex("14181d") in found["dark"]
    assert bytes.fromhex("6ea2f7") in found["dark"]
