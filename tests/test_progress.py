from __future__ import annotations

import logging
import os
import pty
import subprocess
import sys

import pytest

from sqlllm.runtime.progress import Logged

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


def test_lines_in_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Logged, "EVERY", 0.0)
    with caplog.at_level(logging.INFO, "sqlllm.progress"), Logged().bar("embed · x", 4) as advance:
        advance(3)
        advance(1)
    assert caplog.messages == ["embed · x: 3 of 4 inputs", "embed · x: 4 of 4 inputs"]
