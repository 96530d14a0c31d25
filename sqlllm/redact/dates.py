"""Dates of birth: a date, and beside it a word that says so."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlllm.redact.entities import Span
from sqlllm.redact.text import Words

# English, German, Dutch, French, Spanish, Portuguese, Italian, Nordic, Polish, Czech.
BORN = Words(
    r"born|d\.?o\.?b|dates?[ _-]of[ _-]birth|birth ?dates?|birth ?days?|b\.(?= ?\d)"
    r"|geboren|geb|geburtsdat\w+|geburtstag|geboortedatum|geboortedag|née?|naissance|nacid[oa]"
    r"|nacimiento|f\. ?nac|nascid[oa]|nascimento|nat[oa] (?:il|a)|nascita|født|född|fødselsdato"
    r"|födelsedatum|syntynyt|syntymäaika|urodz\w+|narozen\w*|нар|родил\w+|рожд\w+|生年月日|出生\w*|生于"
)
MONTH = (
    r"(?:jan|feb|fév|fev|mar|mär|mrt|maa|apr|avr|abr|may|mai|mei|maj|mag|jun|juin|jui|giu|jul|lug"
    r"|aug|aoû|ago|sep|set|oct|okt|ott|out|nov|dec|dez|déc|dic|des|ene|gen)[^\W\d_]{0,8}\.?"
)
DATE = re.compile(
    r"[0-9](?<![\w./-][0-9])(?:\d{3}(?P<a>[./-])\d\d?(?P=a)\d\d?"
    r"|\d?(?P<b>[./-]) ?\d\d?(?P=b) ?(?:\d{4}|\d\d)|\d{7}(?=\D|$)"
    rf"|\d?(?:st|nd|rd|th|er|\.|º)?(?: de| of)?[ -]{MONTH},?(?: de)?[ -](?:\d{{4}}|\d\d)"
    r"|\d?(?P<us>(?:st|nd|rd|th)?,? \d{4})|\d{3}年\d\d?月\d\d?日)(?![\d/-])",
    re.IGNORECASE | re.ASCII,
)
MONTH_BEFORE = re.compile(rf"(?<!\w){MONTH} \Z", re.IGNORECASE)


def births(text: str) -> Iterator[Span]:
    """Dates beside a birth word; other dates are left.

    Example:
        >>> [s.value for s in births("Ann, born on 12 March 1985 in Rome, came on 1 May 2020.")]
        ['12 march 1985']
    """
    for match in DATE.finditer(text):
        start, end = match.span()
        if match["us"]:  # March 12, 1985
            month = MONTH_BEFORE.search(text, max(0, start - 14), start)
            if month is None:
                continue
            start = month.start()
        if BORN.near(text, start, end):
            yield Span(start, end, "date_of_birth", text[start:end].casefold())
