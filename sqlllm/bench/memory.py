"""How much memory a query holds, for few and for many rows, each in a process of its own.

A process that has run other things holds freed memory, which a query fills before it grows: the
level would say nothing. `python -m sqlllm.bench.memory '{...}'` is that process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any

from sqlllm.bench.machine import PeakMemory, settle
from sqlllm.bench.method import Skipped
from sqlllm.bench.texts import texts

WORDS = 8  # of each row
CALLS = {
    "embed": "count(ai.embed(x))",
    "classify": "count(ai.classify(x, ['food', 'music', 'school']))",
    "filter": "count(ai.filter(x, 'Is it about food?'))",
}
ANSWER_BYTES = {"classify": 3 * 4, "filter": 2 * 4}  # float32 per label; embed: per dimension


@dataclass(frozen=True, slots=True)
class Footprint:
    """What one query held.

    Attributes:
        function: Which.
        rows: Of how many distinct texts.
        peak_bytes: The most above the level before, results included.
        result_bytes: Size of the answers themselves, as float32.
        device_bytes: The same on the accelerator, 0 without one.
    """

    function: str
    rows: int
    peak_bytes: int
    result_bytes: int
    device_bytes: int = 0

    @property
    def own_bytes(self) -> int:
        """Without the results."""
        return max(self.peak_bytes - self.result_bytes, 0)


def footprint(function: str, rows: int, *, dtype: str, model: str) -> Footprint:
    """Measured in a new process.

    Args:
        function: A name of `CALLS`.
        rows: Of how many distinct texts.
        dtype: One of `models.uri.DTYPES`.
        model: One that SQL can name; for language models also a name of `CONFIGS`.

    Raises:
        Skipped: The process failed; the message is its last line.
    """
    asked = {"function": function, "rows": rows, "dtype": dtype, "model": model}
    done = subprocess.run(
        [sys.executable, "-m", "sqlllm.bench.memory", json.dumps(asked)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        said = [line for line in lines if not line.startswith("Hint: ")] or ["no message"]
        msg = f"the process that measures it failed: {said[-1]}"
        raise Skipped(msg)
    return Footprint(**json.loads(done.stdout.splitlines()[-1]))


def measured(function: str, rows: int, *, dtype: str, model: str) -> Footprint:
    """Measured here: load, ask a few rows once, then the query in question."""
    from sqlllm.bench.configs import CONFIGS
    from sqlllm.bench.models import causal, random_causal, sentence
    from sqlllm.bench.sql import Sql
    from sqlllm.engine.device import device
    from sqlllm.engine.prompt import encode

    place = device()
    loaded: Any
    if function == "embed":
        loaded = sentence(model, place, dtype)
        sql, answer = Sql({"embedder": loaded.ours}), 0
    else:
        load = random_causal if model in CONFIGS else causal
        loaded = load(model, place, dtype)
        sql, answer = Sql({"bench": loaded.ours}), ANSWER_BYTES[function]
    made = texts([WORDS] * (rows + 512), lambda x: len(encode(loaded.tokenizer, x)), seed=3)
    sql.table("few", made[:512])
    sql.table("many", made[512:])
    del made
    call = CALLS[function]
    sql.db.execute(f"SELECT {call} FROM few").fetchall()
    if function == "embed":
        ((answer,),) = sql.db.execute("SELECT 4 * len(ai.embed(x)) FROM few LIMIT 1").fetchall()
    settle()
    with PeakMemory() as host, PeakMemory(place) as accelerator:
        ((count,),) = sql.db.execute(f"SELECT {call} FROM many").fetchall()
    if count != rows:
        msg = f"{count} answers for {rows} rows"
        raise RuntimeError(msg)
    used = accelerator.bytes if place == "cuda" else 0
    return Footprint(function, rows, host.bytes, rows * int(answer), used)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(measured(**json.loads(sys.argv[1])))) + "\n")
