from __future__ import annotations

import logging
import os
import pty
import subprocess
import sys

import pytest

import sqlllm
from sqlllm.runtime.progress import Logged, Work

CODE = """
import time, sqlllm
def slow(task, text):
    time.sleep(0.02)
    return text
fake = sqlllm.FakeModel(slow, batch_size=5)
with sqlllm.connect(models={"fake": fake}, model="fake") as db:
    db.execute("SELECT count(ai.complete('t' || i)) FROM range(50) t(i)").fetchall()
"""


def test_a_bar_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        stderr=theirs,
        check=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
    )
    assert done.returncode == 0
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "complete · fake" in shown
    assert "50/50" in shown
    assert shown.endswith("\x1b[1A\x1b[2K")  # a query in chunks has hundreds, and leaves none


def test_lines_in_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Logged, "EVERY", 0.0)
    work = Work("embed · x", rows=6, distinct=5, cached=1)
    with caplog.at_level(logging.INFO, "sqlllm.progress"), Logged().bar(work) as show:
        show()
        work.sent = 3
        show()
        work.sent, work.tokens, work.seconds = 4, 80, 2.0
        show()
    assert caplog.messages == [
        "embed · x: 1 of 5 inputs, 1 of them cached",
        "embed · x: 4 of 5 inputs, 1 of them cached",
        "embed · x: 5 of 5 inputs, 1 of them cached, 40 tokens/s",
    ]


def test_a_function_is_told() -> None:
    told: list[Work] = []
    fake = sqlllm.FakeModel(lambda task, text: text, batch_size=4)
    with sqlllm.connect(models={"fake": fake}, model="fake", progress=told.append) as db:
        db.execute("SELECT count(ai.complete('t' || i % 8)) FROM range(10) t(i)").fetchall()
    assert [(work.sent, work.tokens) for work in told] == [(0, 0), (4, 8), (8, 16)]
    assert {(work.name, work.rows, work.distinct) for work in told} == {("complete · fake", 10, 8)}
