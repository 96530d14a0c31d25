"""Classify a CSV: classify_csv.py FILE TEXT_COLUMN [LABEL_COLUMN].

With a label column, its distinct values are the labels, and the accuracy is printed: of the rows
with a label, those where it was found. A row without a text counts as not found. Without a label
column, the labels are asked for with --labels a,b,c.
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
        text, gold = map(quoted, (given.text_column, given.label_column))
        if given.labels:
            labels = [label.strip() for label in given.labels.split(",")]
        else:
            rows = db.execute(
                f"SELECT DISTINCT {gold} FROM data WHERE {gold} IS NOT NULL ORDER BY 1"
            )
            labels = [row[0] for row in rows.fetchall()]
            if not labels:
                parser.error(f"no row of {given.file} has a label in {given.label_column!r}")
        db.execute(
            f"CREATE TABLE answered AS SELECT {text} AS text, {gold} AS gold, "
            f"ai.classify({text}, $1, truncate := true) AS predicted FROM data",
            [labels],
        )
        db.sql("SELECT text, predicted FROM answered LIMIT 10").show()
        right, total = db.execute(
            "SELECT count(*) FILTER (predicted = gold), count(gold) FROM answered"
        ).fetchone()
        if total:
            print(f"accuracy {right / total:.4f} ({right} of {total} rows, {len(labels)} labels)")


def quoted(name: str | None) -> str:
    """A column as text, whatever it is called and holds: stars of 1 to 5 are labels, too."""
    return "NULL" if name is None else 'CAST("{}" AS VARCHAR)'.format(name.replace('"', '""'))


if __name__ == "__main__":
    main()
