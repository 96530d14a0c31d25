"""Run quickstart.sql and show the answers, then ask a language model about a few tickets."""

from __future__ import annotations

from pathlib import Path

import sqlllm

HERE = Path(__file__).parent
SCRIPT = (HERE / "quickstart.sql").read_text(encoding="utf-8")


def main() -> None:
    with sqlllm.connect() as db:
        db.sql(SCRIPT.replace("examples/tickets.csv", str(HERE / "tickets.csv"))).show()
        db.sql("SELECT id, predicted, left(body, 60) AS body FROM answered LIMIT 8").show()
        try:
            db.execute("""
                SELECT id, left(body, 40) AS body,
                    ai.score(body, 'Is the customer angry?') AS angry,
                    ai.complete('Answer in one sentence: ' || body, max_tokens := 24) AS reply
                FROM (SELECT DISTINCT ON (body) * FROM answered
                      WHERE length(body) BETWEEN 20 AND 120 ORDER BY id LIMIT 3)""")
            for number, body, angry, reply in db.fetchall():
                print(f"{number}: {body!r} angry {angry:.2f}\n   {reply!r}")
        except sqlllm.ModelMissing as error:
            print(error)
        for line in db.execute("""
            SELECT format('{} with {}: {} rows, {} distinct, {} sent, {:.1f} s',
                "function", model, "rows", distinct_inputs, sent, seconds)
            FROM ai.usage WHERE this_session
        """).fetchall():
            print(line[0])


if __name__ == "__main__":
    main()
