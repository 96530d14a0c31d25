"""A report as one page of HTML that needs nothing else."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator

from sqlllm.explain import pretty
from sqlllm.html import Html, grid, join, tag
from sqlllm.report.content import Part, Report, summed, without_keys
from sqlllm.report.style import STYLE
from sqlllm.runtime.history import cut
from sqlllm.runtime.progress import duration
from sqlllm.runtime.usage import Usage

MARK = "<!doctype html><!-- sqlllm report -->"
"""How such a file begins."""

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""The browser is to load and run nothing, whatever the texts are."""

FAILURES = 50
"""Lines of errors."""


def page(report: Report) -> str:
    """The whole file."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", **{"http-equiv": "Content-Security-Policy", "content": POLICY}),
        tag("title", f"{report.title}: {report.state}"),
        tag("style", Html(STYLE)),
    )
    main = tag("main", _statements(report), _models(report), _errors(report))
    body = tag("body", _header(report), main, _footer(report))
    return MARK + tag("html", head, body, lang="en") + "\n"


def _header(report: Report) -> Html:
    state = tag("span", WORDS.get(report.state, report.state), class_=f"state {report.state}")
    parts = [tag("h1", report.title), tag("p", state, " · ", _when(report))]
    if report.message:
        parts.append(tag("p", report.quoted(report.message)))
    parts += [_sums(report), bar(report.total)]
    facts = [join([tag("dt", name), tag("dd", value)]) for name, value in report.facts.items()]
    return tag("header", *parts, tag("dl", *facts))


WORDS = {
    "done": "Done",
    "failed": "Failed",
    "budget": "Stopped: a budget is used up",
    "interrupted": "Interrupted",
    "open": "So far",
}


def _when(report: Report) -> str:
    began = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(report.started))
    return began + (f" · {duration(report.seconds)}" if report.seconds is not None else "")


def _sums(report: Report) -> Html:
    total = report.total
    saved = total.rows - total.sent
    share = f" ({saved / total.rows:.0%})" if total.rows and saved > 0 else ""
    sums = [
        (f"{total.rows:,}", "rows"),
        (f"{total.sent:,}", "inputs sent"),
        (f"{max(saved, 0):,}", f"calls saved{share}"),
        (f"{total.prompt_tokens + total.completion_tokens:,}", "tokens"),
        (duration(total.seconds), "in calls"),
        *([] if total.cost is None else [(f"{total.cost:,.4g}", "cost")]),
        (f"{total.errors:,}", "errors"),
    ]
    return tag("ul", *(tag("li", tag("b", number), name) for number, name in sums), class_="sums")


def bar(usage: Usage) -> Html:
    """Rows, as far as they were sent, cached, NULL, or the same as another row."""
    if not usage.rows:
        return Html("")
    once = max(usage.rows - usage.distinct_inputs, 0)
    shares = {"sent": usage.sent, "cached": usage.cached, "once": once}
    whole = max(sum(shares.values()), 1)
    drawn = [tag("i", class_=k, style=f"width:{100 * n / whole:.2f}%") for k, n in shares.items()]
    words = {"sent": "sent", "cached": "from the cache", "once": "NULL or the same as another row"}
    keys = [
        join([tag("span", class_=f"key {k}"), f"{shares[k]:,} {word}"]) for k, word in words.items()
    ]
    chain = f"{usage.rows:,} rows → {usage.distinct_inputs:,} distinct → {usage.cached:,} cached → "
    line = tag("p", chain, tag("b", f"{usage.sent:,} sent"))
    return join([line, tag("div", *drawn, class_="bar", aria_hidden="true"), tag("small", *keys)])


def _statements(report: Report) -> Html:
    shown = [_statement(report, number, part) for number, part in enumerate(report.parts, 1)]
    return join([tag("h2", "Statements"), *(shown or [tag("p", "Nothing was asked.")])])


def _statement(report: Report, number: int, part: Part) -> Html:
    took = [] if part.seconds is None else [f" · {duration(part.seconds)}"]
    state = tag("span", part.state, class_=f"state {part.state}")
    parts: list[str] = [tag("h3", f"Statement {number} · ", state, *took)]
    if part.message:
        parts.append(tag("p", report.quoted(part.message)))
    parts.append(tag("pre", without_keys(part.text)))
    parts += _plan(part)
    if part.usage:
        parts.append(_usage(part.usage.values()))
        if len(part.usage) == 1 or len(report.parts) > 1:
            parts.append(bar(summed(part.usage.values())))
    parts += _answers(report, part)
    return tag("section", *parts)


def _plan(part: Part) -> Iterator[Html]:
    if part.fired:
        sql = tag("pre", without_keys(pretty(part.sql)))
        said = f"As DuckDB got it, by the rules {', '.join(part.fired)}"
        yield tag("details", tag("summary", said), sql)
    for note in part.notes:
        yield tag("p", note, class_="soft")


HEADER = (
    "function", "model", "rows", "distinct", "cached", "sent", "batches", "tokens read", "written",
    "seconds", "errors", "cost",
)  # fmt: skip


def _usage(rows: Iterable[Usage]) -> Html:
    shown = []
    for u in rows:
        counts = (u.rows, u.distinct_inputs, u.cached, u.sent, u.batches, u.prompt_tokens)
        cost = "-" if u.cost is None else f"{u.cost:,.4g}"
        numbers = [f"{n:,}" for n in (*counts, u.completion_tokens)]
        shown.append((u.function, u.model, *numbers, f"{u.seconds:,.1f}", f"{u.errors:,}", cost))
    return tag("div", grid(HEADER, shown, words=2, caption="Calls"), class_="wide counts")


def _answers(report: Report, part: Part) -> Iterator[Html]:
    if not report.samples:
        return
    rows = []
    for (function, _), answers in part.answers.items():
        for answer, text in list(answers.items())[: report.samples]:
            rows.append((function, answer, text) if report.texts else (function, answer))
    header = ("function", "answer", "text") if report.texts else ("function", "answer")
    if rows:
        yield tag(
            "div", grid(header, rows, words=3, caption="Some of the answers"), class_="wide answers"
        )


def _models(report: Report) -> Html:
    if not report.models:
        return Html("")
    rows = [(name, tag("code", print_)) for name, print_ in report.models.items()]
    return join([tag("h2", "Models"), tag("div", grid(("model", "fingerprint"), rows, words=2))])


def _errors(report: Report) -> Html:
    if not report.failures:
        return Html("")
    texts = report.texts and report.samples
    found = Counter(
        (
            str(row["function"]),
            str(row["model"]),
            cut(report.quoted(str(row["message"])), 300),
            *([str(row["input"])] if texts else []),
        )
        for row in report.failures
    )
    header = ["errors", "function", "model", "message", *(["text"] if texts else [])]
    rows = [(f"{count:,}", *key) for key, count in found.most_common(FAILURES)]
    left = len(found) - len(rows)
    more = [tag("p", f"{left:,} more kinds in ai.errors", class_="soft")] if left > 0 else []
    return join(
        [tag("h2", "Errors"), tag("div", grid(header, rows, words=5), class_="wide"), *more]
    )


def _footer(report: Report) -> Html:
    said = f"Of each call, at most {report.samples} different answers are in this page"
    if not report.samples:
        said = "No answers and no texts are in this page."
    elif report.texts:
        said += ", and the texts that they are about. Both are cut to 80 characters."
    else:
        said += "; no texts are. They are cut to 80 characters."
    said += " Left out of SQL: values of CREATE SECRET, ATTACH, SET, PRAGMA, keys in addresses."
    return tag("footer", tag("small", said))
