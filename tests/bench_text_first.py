"""Several questions about the same texts, with the text first and with the question first.

`make bench-text-first`: the seconds of one query, round by round, in one run.
What is asked differs in the order of its parts, and so may the answers: this measures time alone.
"""

from __future__ import annotations

import argparse
import statistics
import time

import sqlllm
from sqlllm.bench.texts import texts
from sqlllm.models.registry import load

QUESTIONS = (
    "ai.classify(x, ['billing', 'shipping', 'weather', 'music'])",
    "ai.filter(x, 'the writer asks for money')",
    "ai.score(x, 'Is the writer angry?')",
    "ai.classify(x, ['urgent', 'can wait'], instruction := 'How soon must it be answered?')",
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--texts", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=200, help="of a text")
    parser.add_argument("--questions", type=int, default=4, choices=range(1, 5))
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()

    def count(text: str) -> int:
        return load("smollm2:").count_tokens([text])[0]

    rows = [[text] for text in texts([given.tokens] * given.texts, count)]
    query = f"SELECT {', '.join(QUESTIONS[: given.questions])} FROM t"
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for at in range(given.rounds):
        for text_first in sorted(seconds, reverse=at % 2 == 1):
            seconds[text_first].append(_timed(query, rows, text_first=text_first))
            print(f"text_first={text_first}: {seconds[text_first][-1]:.1f} s", flush=True)
    off, on = (statistics.median(seconds[text_first]) for text_first in (False, True))
    times = statistics.median(a / b for a, b in zip(*seconds.values(), strict=True))
    print(
        f"{given.questions} questions about {given.texts} texts of {given.tokens} tokens, smollm2: "
        f"{off:.1f} s with the question first, {on:.1f} s with the text first: {times:.2f} times"
    )


def _timed(query: str, rows: list[list[str]], *, text_first: bool) -> float:
    settings = {"model": "smollm2", "text_first": text_first, "cache": "off", "record": False}
    with sqlllm.connect(**settings) as db:
        db.execute("CREATE TABLE t(x VARCHAR)")
        db.executemany("INSERT INTO t VALUES ($1)", rows)
        db.execute("SELECT ai.filter(x, 'warm up') FROM t LIMIT 2").fetchall()
        began = time.perf_counter()
        db.execute(query).fetchall()
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
