"""Numbers that states give to people, with their check digits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module

from sqlllm.redact.entities import Recogniser, Span
from sqlllm.redact.text import Words


@dataclass(frozen=True, slots=True)
class NationalId:
    """One kind of number.

    Attributes:
        module: The module of python-stdnum that checks it; empty where form is all there is.
        sure: The form, as a regular expression, in which so few other numbers pass the check that
            it counts alone; empty where there is none.
        near: The form in which it counts beside one of `words` only.
        words: Alternation of regular expressions.
    """

    module: str
    sure: str = ""
    near: str = ""
    words: str = ""


NATIONAL_IDS = (
    NationalId("us.ssn", r"\d{3}-\d\d-\d{4}", r"\d{3} ?\d\d ?\d{4}", "ssn|social security"),
    NationalId("us.itin", r"9\d\d-\d\d-\d{4}", r"9\d{8}", "itin"),
    NationalId("ca.sin", near=r"\d{3}[ -]?\d{3}[ -]?\d{3}", words="sin|social insurance|nas"),
    NationalId("", r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d\d ?\d\d ?\d\d ?[A-D]"),  # UK NINO
    NationalId("gb.nhs", near=r"\d{3}[ -]?\d{3}[ -]?\d{4}", words="nhs"),
    NationalId("de.idnr", r"[1-9]\d ?\d{3} ?\d{3} ?\d{3}"),
    NationalId("at.vnr", near=r"\d{4} ?\d{6}", words=r"sv-?(?:nr|nummer)|\w*versicherungsnummer"),
    NationalId("ch.ssn", r"756[. ]?\d{4}[. ]?\d{4}[. ]?\d\d"),
    NationalId("fr.nir", r"[1-478] ?\d\d ?(?:0[1-9]|[1-9]\d) ?\d[\dAB] ?\d{3} ?\d{3} ?\d\d"),
    NationalId("es.dni", r"\d{8}-?[A-HJ-NP-TV-Z]"),
    NationalId("es.nie", r"[XYZ]-?\d{7}-?[A-HJ-NP-TV-Z]"),
    NationalId("it.codicefiscale", r"[A-Z]{6}\d\d[A-EHLMPR-T]\d\d[A-Z][\dL-NP-V]{3}[A-Z]"),
    NationalId("pt.nif", near=r"\d{3} ?\d{3} ?\d{3}", words="nif|contribuinte"),
    NationalId("nl.bsn", near=r"\d{3}[ .]?\d[ .]?\d\d[ .]?\d{3}", words=r"bsn|burgers\w*|sofi\w*"),
    NationalId("be.nn", r"\d\d[. ]?\d\d[. ]?\d\d[- ]?\d{3}[. ]?\d\d"),
    NationalId("ie.pps", near=r"\d{7}[A-W][A-ITW]?", words="ppsn?|personal public service"),
    NationalId("se.personnummer", r"(?:19|20)?\d{6}[-+]\d{4}", r"\d{12}|\d{10}", r"personn\w+|pnr"),
    NationalId("no.fodselsnummer", r"\d{6} ?\d{5}"),
    NationalId("dk.cpr", near=r"\d{6}-?\d{4}", words=r"cpr(?:-?nr|-?nummer)?|personnummer"),
    NationalId("fi.hetu", r"\d{6}[-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y]"),
    NationalId("ee.ik", near=r"\d{11}", words="isikukood"),
    NationalId("lt.asmens", near=r"\d{11}", words="asmens kodas"),
    NationalId("pl.pesel", near=r"\d{11}", words=r"pesel\w*"),
    NationalId("cz.rc", r"\d{6}/\d{4}", r"\d{6}/?\d{3,4}", r"rodné číslo|rodného čísla|rč|r\. ?č"),
    NationalId("ro.cnp", near=r"[1-8]\d{12}", words="cnp|cod numeric personal"),
    NationalId("bg.egn", near=r"\d{10}", words="егн|egn"),
    NationalId("hr.oib", near=r"\d{11}", words="oib"),
    NationalId("gr.amka", near=r"\d{11}", words="αμκα|amka"),
    NationalId("tr.tckimlik", near=r"[1-9]\d{10}", words=r"t\.? ?c\.?(?: no)?|\w*kimlik\w*"),
    NationalId("il.idnr", near=r"\d{8}-?\d", words="teudat zehut|israeli id|תעודת זהות"),
    NationalId("za.idnr", near=r"\d{6} ?\d{4} ?\d\d ?\d", words="(?:sa|south african) id|id no"),
    NationalId("in_.aadhaar", near=r"[2-9]\d{3}[ -]?\d{4}[ -]?\d{4}", words="aadh?aar|uidai|uid"),
    NationalId("in_.pan", r"[A-Z]{3}P[A-Z]\d{4}[A-Z]"),
    NationalId("kr.rrn", r"\d{6}-\d{7}", r"\d{13}", "rrn|주민등록번호"),
    NationalId("cn.ric", r"[1-9]\d{5}(?:19|20)\d{9}[\dX]"),
    NationalId("my.nric", r"\d{6}-\d\d-\d{4}", r"\d{12}", "nric|mykad"),
    NationalId("th.pin", r"\d-\d{4}-\d{5}-\d\d-\d", r"\d{13}", "บัตรประชาชน|thai id"),
    NationalId("br.cpf", r"\d{3}\.\d{3}\.\d{3}-\d\d", r"\d{9}-?\d\d", "cpf"),
    NationalId("ar.cuit", r"2[0347]-\d{8}-\d", r"2[0347]\d{9}", "cui[tl]"),
    NationalId("cl.rut", r"\d{1,2}\.\d{3}\.\d{3}-[\dK]", r"\d{7,8}-?[\dK]", "rut|run"),
    NationalId("mx.curp", r"[A-Z]{4}\d{6}[HMX][A-Z]{5}[A-Z0-9]\d"),
    NationalId("au.tfn", near=r"\d{3} ?\d{3} ?\d{3}", words="tfn|tax file number"),
    NationalId("nz.ird", near=r"\d{2,3}[ -]?\d{3}[ -]?\d{3}", words="ird"),
)  # fmt: skip
"""What is looked for; `near` is for checks that one in ten other numbers of that length passes."""

ANY = r"national (?:id\w*|insurance)|id card|identity (?:card|number)|personal (?:id|number)"
"""Words that go with the numbers of every state."""

# Where a number may stand: at six digits, or at letters and digits.
START = re.compile(
    r"[0-9](?<![a-zA-Z0-9][0-9])(?<!\w-[0-9])(?<!\d[.,/][0-9])(?=(?:[ ./-]?\d){5})", re.ASCII
)
LETTERED = re.compile(
    r"[A-Z](?<![a-zA-Z0-9][A-Z])(?<!\w-[A-Z])(?=[A-Z] ?\d\d ?\d\d ?\d|-?\d{7}|[A-Z]{3,5}\d\d)",
    re.ASCII | re.IGNORECASE,
)


def national_ids() -> Recogniser:
    """Numbers of `NATIONAL_IDS` that pass their check.

    Example:
        >>> find = national_ids()
        >>> [s.value for s in find("SSN 536-90-4399, order 536904399, RCCMNL83S18D969H")]
        ['536904399', 'RCCMNL83S18D969H']
    """
    checks = [check for kind in NATIONAL_IDS for check in _checks(kind)]
    lettered = [check for check in checks if re.match(r"\[[A-Z]", check.form)]
    others = [check for check in checks if check not in lettered]
    kinds = [(START, others, _at_once(others)), (LETTERED, lettered, _at_once(lettered))]
    # Asked first: most numbers have no word beside them, and checks take longer than a search.
    any_word = Words("|".join(kind.words for kind in NATIONAL_IDS if kind.near) + f"|{ANY}")

    def find(text: str) -> Iterator[Span]:
        for places, possible, forms in kinds:
            for place in places.finditer(text):
                at = place.start()
                here = forms.match(text, at)
                found = zip(possible, here.groups() if here else (), strict=True)
                fitting = [(check, raw) for check, raw in found if raw]
                sizes = {len(raw) for check, raw in fitting if check.words}
                announced = {size for size in sizes if any_word.near(text, at, at + size)}
                end = max(
                    (
                        at + len(raw)
                        for check, raw in fitting
                        if (not check.words or len(raw) in announced) and check.holds(text, at, raw)
                    ),
                    default=at,
                )
                if end > at:
                    value = re.sub(r"[\W_]", "", text[at:end]).upper()
                    yield Span(at, end, "national_id", value)

    return find


@dataclass(frozen=True, slots=True)
class _Check:
    """A form, what checks it, and the words that it needs, if any."""

    form: str
    valid: Callable[[str], bool]
    words: Words | None

    def holds(self, text: str, at: int, raw: str) -> bool:
        """Whether `raw`, which has the form and stands at `at`, is such a number."""
        if self.words is not None and not self.words.near(text, at, at + len(raw)):
            return False
        bare = re.sub(r"[ .]", "", raw)  # some of the checks read spaces, some don't
        return self.valid(bare) or (bare != raw and self.valid(raw))


def _checks(kind: NationalId) -> Iterator[_Check]:
    valid = import_module(f"stdnum.{kind.module}").is_valid if kind.module else bool
    if kind.sure:
        yield _Check(kind.sure, valid, None)
    if kind.near:
        yield _Check(kind.near, valid, Words(f"{kind.words}|{ANY}"))


def _at_once(checks: Sequence[_Check]) -> re.Pattern[str]:
    """Tries every form at one place: a group for each, set where it fits."""
    behind = r"(?![a-zA-Z0-9]|[./-]?\d|,\d\d?(?!\d))"  # an amount may, a field of a list may not
    forms = "".join(rf"(?:(?=({check.form}){behind})|)" for check in checks)
    return re.compile(forms, re.ASCII | re.IGNORECASE)
