"""Bank accounts and payment cards."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from sqlllm.redact.entities import Recogniser, Span

CHECK = re.compile(r"[0-9]{2}(?:(?<=[a-zA-Z]{2}[0-9]{2})|(?<=[a-zA-Z]{2} [0-9]{2}))", re.ASCII)
IBAN = re.compile(r"[a-zA-Z]{2} ?[0-9]{2}(?:[ -]?[a-zA-Z0-9]){11,30}", re.ASCII)
WORD = re.compile(r"[a-zA-Z0-9]+")


def ibans() -> Recogniser:
    """Account numbers whose check digits and country's form are right.

    Example:
        >>> [span.value for span in ibans()("Pay to DE89 3704 0044 0532 0130 00 by May")]
        ['DE89370400440532013000']
    """
    from stdnum import iban

    def find(text: str) -> Iterator[Span]:
        for check in CHECK.finditer(text):
            start = check.start() - 2 - (text[check.start() - 1] == " ")
            match = IBAN.match(text, start)
            if match is None or WORD.fullmatch(text[start - 1 : start]):
                continue
            last = match.end()
            ends = [word.end() for word in WORD.finditer(text, start, last + 1)]
            for end in reversed(ends):  # the words behind it may look like a part of it
                # The country's own check digits, where it has any, are not asked for too.
                if end <= last and iban.is_valid(text[start:end], check_country=False):
                    yield Span(start, end, "iban", iban.compact(text[start:end]))
                    break

    return find


DIGITS = re.compile(
    r"[0-9](?<![a-zA-Z0-9+][0-9])(?<!\d[.,][0-9])(?:[ -]?\d){11,}"
    r"(?![a-zA-Z0-9]|\.\d|,\d\d?(?![\d/]))",
    re.ASCII,
)  # 4111111111111111,12 is an amount; with ,12/27 or ,94105 behind it, a card in a list
GROUP = re.compile(r"\d+")
# Issuers and lengths: Visa, Mastercard, American Express, Diners Club, Discover, JCB, UnionPay,
# Maestro, Mir, RuPay.
ISSUER = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"
    r"|3[47]\d{13}|3(?:0[0-59]|[689]\d)\d{11}|(?:6011|64[4-9]\d|65\d\d)\d{12}"
    r"|35(?:2[89]|[3-8]\d)\d{12}|62\d{14,17}|(?:5018|5020|5038|5893|6304|6759|676[1-3])\d{8,15}"
    r"|220[0-4]\d{12}|(?:60|8[12])\d{14}|508\d{13}",
    re.ASCII,
)


def cards() -> Recogniser:
    """Payment card numbers, in one piece or in groups of at least three digits.

    Example:
        >>> [span.value for span in cards()("4111 1111 1111 1111 12/27, order 4111111111111112")]
        ['4111111111111111']
    """
    from stdnum import luhn

    def is_card(parts: Sequence[str]) -> bool:
        value = "".join(parts)
        return bool(min(map(len, parts)) > 2 and ISSUER.fullmatch(value) and luhn.is_valid(value))

    def find(text: str) -> Iterator[Span]:
        for match in DIGITS.finditer(text):
            groups = list(GROUP.finditer(text, *match.span()))
            at = 0
            while at < len(groups):
                parts = [group[0] for group in groups[at : at + 5]]
                size = next((n for n in range(len(parts), 0, -1) if is_card(parts[:n])), 0)
                if size:
                    start, end = groups[at].start(), groups[at + size - 1].end()
                    yield Span(start, end, "card", "".join(parts[:size]))
                at += size or 1

    return find
