"""Classify a CSV: classify_csv.py FILE TEXT_COLUMN [LABEL_COLUMN].

With a label column, its distinct values are the labels, and the accuracy is printed. Without
one, the labels are asked for with --labels a,b,c.
"""

from __future__ import annotations

import argparse

import sqlllm


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("text_column")
    parser.add_argument("label_column", nargs="?")
    parser.add_argument("--labels", help="comma-separated; default: the label column's values")
    parser.add_argument("--model", help="default: minilm")
    given = parser.parse_args(argv)
    if not (given.labels or given.label_column):
        parser.error("give a LABEL_COLUMN or --labels")
    with sqlllm.connect(model=given.model) as db:
        db.execute("CREATE TABLE data AS FROM read_csv($1)", [given.file])
        names = [column[0] for column in db.execute("FROM data LIMIT 0").description]
        for name in filter(None, (given.text_column, given.label_column)):
            if name not in names:
                parser.error(f"{given.file} has no column {name!r}; it has {', '.join(names)}")
        text, gold = (f'"{name}"' for name in (given.text_column, given.label_column or "NULL"))
        if given.labels:
            labels = given.labels.split(",")
        else:
            rows = db.execute(
                f"SELECT DISTINCT {gold} FROM data WHERE {gold} IS NOT NULL ORDER BY 1"
            )
            labels = [row[0] for row in rows.fetchall()]
        db.execute(
            f"CREATE TABLE answered AS SELECT *, "
            f"ai.classify({text}, $1, truncate := true) AS predicted FROM data",
            [labels],
        )
        db.sql(f"SELECT {text}, predicted FROM answered LIMIT 10").show()
        if given.label_column:
            right, total = db.execute(
                f"SELECT count(*) FILTER (predicted = {gold}), count({gold}) FROM answered"
            ).fetchone()
            print(f"accuracy {right / total:.4f} ({right} of {total} rows, {len(labels)} labels)")


if __name__ == "__main__":
    main()
