"""A semantic join whose left texts are read once, and the same with every pair read whole.

`make bench-join`: the seconds of one query, round by round, in one run.
"""

from __future__ import annotations

import argparse
import statistics
import time
from unittest.mock import patch

import sqlllm
from sqlllm.bench.texts import texts
from sqlllm.models import reading
from sqlllm.models.registry import load

QUERY = "SELECT count(*) FROM a JOIN b ON ai.match(x, y, 'are about the same topic')"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--left", type=int, default=16, help="texts on the left")
    parser.add_argument("--right", type=int, default=32)
    parser.add_argument("--left-tokens", type=int, default=100, help="of a text")
    parser.add_argument("--right-tokens", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()

    def count(text: str) -> int:
        return load("smollm2:").count_tokens([text])[0]

    seconds: dict[bool, list[float]] = {False: [], True: []}
    with sqlllm.connect(model="smollm2", cache="off", record=False) as db:
        for table, column, rows, size, seed in (
            ("a", "x", given.left, given.left_tokens, 1),
            ("b", "y", given.right, given.right_tokens, 2),
        ):
            made = texts([size] * rows, count, seed=seed)
            db.execute(f"CREATE TABLE {table} AS SELECT unnest($1) AS {column}", [made])
        db.execute("SELECT ai.match('warm', 'up', 'rhyme')").fetchall()
        for at in range(given.rounds):
            for once in sorted(seconds, reverse=at % 2 == 1):
                worth = reading.WORTH if once else float("inf")
                with patch.object(reading, "WORTH", worth):
                    began = time.perf_counter()
                    db.execute(QUERY).fetchall()
                seconds[once].append(time.perf_counter() - began)
                print(f"left texts read once: {once}: {seconds[once][-1]:.1f} s", flush=True)
    off, on = (statistics.median(seconds[once]) for once in (False, True))
    times = statistics.median(a / b for a, b in zip(*seconds.values(), strict=True))
    print(
        f"{given.left} texts of {given.left_tokens} tokens x {given.right} of "
        f"{given.right_tokens}, smollm2: {off:.1f} s with every pair read whole, {on:.1f} s with "
        f"the left texts read once: {times:.2f} times"
    )


if __name__ == "__main__":
    main()
