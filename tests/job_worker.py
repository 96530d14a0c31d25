"""A process with a fake model, which notes every input that it is sent: `job_worker.py run ...`.

The environment says how: NOTES, the file of inputs; BATCH, inputs a batch; NAP, seconds a batch
takes; DIE_AT, the input at which the process is killed.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import sqlllm
from sqlllm.cli import main
from sqlllm.models import registry

NOTES = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
BATCH = int(os.environ.get("BATCH", "50"))
NAP = float(os.environ.get("NAP", "0"))
DIE_AT = os.environ.get("DIE_AT")


count = 0


def answer(task: sqlllm.Task, text: str) -> str:
    global count
    os.write(NOTES, f"{text}\n".encode())
    if text == DIE_AT:
        os.kill(os.getpid(), signal.SIGKILL)
    if count % BATCH == 0:
        time.sleep(NAP)
    count += 1
    return text.upper()


fake = sqlllm.FakeModel(answer, batch_size=BATCH, fingerprint="upper")
registry.BUILTIN["fake"] = fake  # type: ignore[index]
sys.exit(main(sys.argv[1:]))
