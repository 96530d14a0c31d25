"""Ask the handbook in examples/docs: text in chunks, vectors, the nearest chunks, a cited answer.

    python examples/rag.py "How do I reset the hub?"

The vectors stay in a DuckDB file. Run it again and only what has changed is embedded. The answer is
from smollm2, a very small model: what it cites is worth more than what it says.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import sqlllm

DOCS = Path(__file__).parent / "docs"

CHUNKS = """
CREATE OR REPLACE TEMP TABLE fresh AS
SELECT parse_filename(filename) || '#' || row_number() OVER (PARTITION BY filename ORDER BY start)
    AS id, chunk AS text
FROM (SELECT filename, unnest(
        ai.split_text(content, markdown := true, max_tokens := 96), recursive := true)
      FROM read_text($1))
"""

# A chunk that was there keeps its vector; what is gone from the documents is gone here, too.
VECTORS = """
CREATE OR REPLACE TABLE chunks AS
SELECT fresh.id, fresh.text,
    coalesce(known.embedding, ai.embed(fresh.text)::FLOAT[384]) AS embedding
FROM fresh
LEFT JOIN (SELECT DISTINCT ON (text) * FROM chunks) AS known ON fresh.text = known.text
"""

NEAREST = """
CREATE OR REPLACE TEMP TABLE nearest AS
SELECT row_number() OVER (ORDER BY score DESC) AS number, id, round(score, 2) AS score, text
FROM ai.search('chunks', $1, k := 3, embedding := 'embedding')
"""

# The pattern makes the answer one sentence that ends with the number of a chunk.
ANSWER = r"""
SELECT ai.complete(
    'Answer the question from the text, in one sentence.' || chr(10)
        || string_agg('[' || number || '] ' || replace(text, chr(10), ' '), chr(10)
            ORDER BY number DESC)
        || chr(10) || $1,
    pattern := '[A-Z][^\[\]\n.!?]{10,160}\. \[[1-3]\]', max_tokens := 96) AS answer
FROM nearest
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("question", nargs="?", default="How do I reset the hub?")
    parser.add_argument("-d", "--database", default="rag.duckdb")
    given = parser.parse_args()
    with sqlllm.connect(given.database) as db:
        db.execute(
            "CREATE TABLE IF NOT EXISTS chunks (id VARCHAR, text VARCHAR, embedding FLOAT[384])"
        )
        db.execute(CHUNKS, [str(DOCS / "*.md")])
        db.execute(VECTORS)
        (count,) = db.execute("SELECT count(*) FROM chunks").fetchone()
        (sent,) = db.execute(
            "SELECT coalesce(sum(sent), 0) FROM ai.usage WHERE this_session"
        ).fetchone()
        print(f"{count} chunks, {sent} of them embedded now")
        db.execute(NEAREST, [given.question])
        db.sql(
            "SELECT number, id, score, left(text, 60) AS text FROM nearest ORDER BY number"
        ).show()
        try:
            (answer,) = db.execute(ANSWER, [given.question]).fetchone()
        except sqlllm.ModelMissing as error:
            print(error)
            return
        (source,) = db.execute("SELECT id FROM nearest WHERE number = $1", [answer[-2]]).fetchone()
        print(f"{given.question}\n{answer[:-4]} ({source})")


if __name__ == "__main__":
    main()
