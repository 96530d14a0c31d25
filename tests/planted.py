"""Texts with identifiers planted in them, and with much that only looks like one."""

from __future__ import annotations

import ipaddress
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module

Draw = random.Random


@dataclass
class Planted:
    """A text and what is in it: start, end, entity."""

    text: str = ""
    spans: set[tuple[int, int, str]] = field(default_factory=set)

    def add(self, template: str, entity: str = "", value: str = "") -> None:
        """Append a sentence; `{}` in it is where the value stands."""
        before, _, after = template.partition("{}")
        start = len(self.text) + len(before)
        self.text += before + value + after + " "
        if entity:
            self.spans.add((start, start + len(value), entity))


def digits(draw: Draw, count: int) -> str:
    return "".join(draw.choices("0123456789", k=count))


def letters(draw: Draw, count: int) -> str:
    return "".join(draw.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=count))


def grouped(text: str, sizes: list[int], by: str) -> str:
    parts, at = [], 0
    for size in sizes:
        parts.append(text[at : at + size])
        at += size
    return by.join([*parts, text[at:]] if text[at:] else parts)


GIVEN = ("ann", "bob", "chloé", "dmitri", "eva", "femi", "giulia", "hannes", "Inés", "JO")
FAMILY = ("lee", "o'neil", "müller", "van.dijk", "garcia", "smith-jones", "Okafor", "tanaka")
HOSTS = ("example", "mail-host", "uni.dept", "my-shop", "bücher", "x1", "Corp")
TLDS = ("com", "org", "co.uk", "de", "fr", "io", "museum", "xn--p1ai", "COM", "com.br")


def email(draw: Draw) -> str:
    given, family = draw.choice(GIVEN), draw.choice(FAMILY)
    local = draw.choice(
        [
            f"{given}.{family}",
            f"{given[0]}{family}{draw.randint(1, 99)}",
            f"{given}+news",
            f"{family}_{given}",
            f"{given}-{draw.randint(1960, 2010)}",
            given,
        ]
    )
    return f"{local}@{draw.choice(HOSTS)}.{draw.choice(TLDS)}"


# The account part of an IBAN: n digits, a letters, c either.
BBAN = {
    "DE": "18n", "GB": "4a14n", "FR": "10n11c2n", "NL": "4a10n", "ES": "20n", "IT": "1a10n12c",
    "CH": "5n12c", "BE": "12n", "AT": "16n", "SE": "20n", "NO": "11n", "DK": "14n", "PL": "24n",
    "PT": "21n", "IE": "4a14n", "FI": "14n", "LU": "3n13c", "CZ": "20n", "GR": "7n16c",
    "MT": "4a5n18c", "SA": "2n18c", "AE": "3n16n", "BR": "23n1a1c",
}  # fmt: skip


def iban(draw: Draw, wrong: int = 0) -> str:
    country = draw.choice(list(BBAN))
    account, size = "", ""
    for char in BBAN[country]:
        if char.isdigit():
            size += char
            continue
        pool = {"n": "0123456789", "a": "ABCDEFGHJKLMNPRSTUVWXYZ", "c": "0123456789ABCDEF"}[char]
        account, size = account + "".join(draw.choices(pool, k=int(size))), ""
    number = int("".join(str(int(c, 36)) for c in account + country + "00"))
    text = f"{country}{(98 - number % 97 + wrong - 2) % 97 + 2:02d}{account}"
    blocks = [4] * (len(text) // 4)
    return draw.choice(
        [text, grouped(text, blocks, " "), grouped(text, blocks, " "), text.lower(),
         grouped(text, blocks, "-"), grouped(text, blocks, "\u00a0")]
    )  # fmt: skip


ISSUERS = ("4", "4", "51", "55", "2221", "2720", "34", "37", "6011", "65", "3528", "36", "62")


def card(draw: Draw, wrong: int = 0) -> str:
    start = draw.choice(ISSUERS)
    length = {"34": 15, "37": 15, "36": 14}.get(start, 16)
    text = start + digits(draw, length - len(start) - 1)
    total = 0
    for i, char in enumerate(reversed(text)):
        double = int(char) * 2 if i % 2 == 0 else int(char)
        total += double - 9 if double > 9 else double
    text += str((-total + wrong) % 10)
    sizes = [4, 4, 4, 4] if length == 16 else [4, 6, length - 10]
    return draw.choice([text, grouped(text, sizes, " "), grouped(text, sizes, "-")])


def ip(draw: Draw) -> str:
    four = ipaddress.IPv4Address(draw.getrandbits(32))
    zeros = ipaddress.IPv6Address(0x20010DB8 << 96 | draw.getrandbits(draw.choice([8, 30])))
    six = ipaddress.IPv6Address(0x2A01 << 112 | draw.getrandbits(112))
    return draw.choice([str(four), str(four), str(zeros), six.exploded, str(six).upper()])


REGIONS = ("US", "GB", "DE", "FR", "ES", "IT", "NL", "PL", "BR", "IN", "JP", "AU", "MX", "NG", "SE")


def phone(draw: Draw, regions: tuple[str, ...] = REGIONS, *, national: bool = False) -> str:
    import phonenumbers as known

    region = draw.choice(regions)
    kind = draw.choice([known.PhoneNumberType.MOBILE, known.PhoneNumberType.FIXED_LINE])
    example = known.example_number_for_type(region, kind)
    while True:
        start = known.format_number(example, known.PhoneNumberFormat.E164)[:-4]
        number = known.parse(start + digits(draw, 4))
        if known.is_valid_number(number):
            break
    form = known.PhoneNumberFormat
    if national:
        return known.format_number(number, form.NATIONAL)
    text = known.format_number(number, draw.choice([form.INTERNATIONAL, form.E164]))
    return draw.choice([text, text, text.replace("-", " "), text.replace(" ", "-")])


def date(draw: Draw, first: int = 1930, last: int = 2015) -> str:
    y, m, d = draw.randint(first, last), draw.randint(1, 12), draw.randint(1, 28)
    names = "January February March April May June July August September October November December"
    month = names.split()[m - 1]
    return draw.choice(
        [f"{y}-{m:02d}-{d:02d}", f"{d:02d}.{m:02d}.{y}", f"{d}/{m}/{y}",
         f"{m:02d}/{d:02d}/{y % 100:02d}", f"{d} {month} {y}", f"{month} {d}, {y}",
         f"{d}-{month[:3]}-{y}", f"{month[:3]}. {d}, {y}"]
    )  # fmt: skip


def secret_url(draw: Draw) -> str:
    word = "".join(draw.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=20))
    return draw.choice(
        [
            f"https://api.example.com/v1/items?page=2&access_token={word}",
            f"https://store.blob.example.net/c/f.pdf?sv=2022-11-02&sr=b&sig={word}%3D",
            f"https://bucket.example.com/k?X-Amz-Credential=AK&X-Amz-Signature={word}",
            f"postgresql://app:{word}@db.example.com:5432/main",
            f"https://ann:{word}@git.example.com/repo.git",
            f"http://example.com/reset?user=7&password={word}",
            f"https://maps.example.com/api/js?key={word}",
            f"https://example.com/cb#id_token={word}",
        ]
    )


def birth(draw: Draw, order: str = "ymd") -> str:
    parts = {"y": draw.randint(40, 99), "m": draw.randint(1, 12), "d": draw.randint(1, 28)}
    return "".join(f"{parts[part]:02d}" for part in order)


NATIONAL: tuple[tuple[str, str, Callable[[Draw], str], str], ...] = (
    ("us.ssn", "The form shows {} today.", lambda d: grouped(digits(d, 9), [3, 2], "-"), ""),
    ("us.ssn", "SSN: {}.", lambda d: digits(d, 9), ""),
    ("de.idnr", "Steuer-ID {} liegt vor.", lambda d: digits(d, 11), ""),
    ("de.idnr", "Tax: {}.", lambda d: digits(d, 11), "2 3 3"),
    ("fr.nir", "NIR {} est connu.", lambda d: d.choice("12") + birth(d, "ym") + digits(d, 10), ""),
    ("fr.nir", "({})", lambda d: d.choice("12") + birth(d, "ym") + digits(d, 10), "1 2 2 2 3 3"),
    ("es.dni", "DNI {} del cliente.", lambda d: digits(d, 8) + letters(d, 1), ""),
    ("es.nie", "NIE {}.", lambda d: d.choice("XYZ") + digits(d, 7) + letters(d, 1), ""),
    ("it.codicefiscale", "Codice {} del paziente.",
     lambda d: letters(d, 6) + birth(d, "y") + "H" + birth(d, "d") + letters(d, 1) + digits(d, 3)
     + letters(d, 1), ""),
    ("nl.bsn", "BSN {} staat erop.", lambda d: digits(d, 9), ""),
    ("pl.pesel", "PESEL: {}.", lambda d: birth(d) + digits(d, 5), ""),
    ("be.nn", "Rijksregister {}.", lambda d: birth(d) + digits(d, 5), ""),
    ("be.nn", "Rijksregister {}.", lambda d: grouped(birth(d), [2, 2], ".") + "-"
     + grouped(digits(d, 5), [3], "."), ""),
    ("se.personnummer", "Person {} kom igår.", lambda d: birth(d) + "-" + digits(d, 4), ""),
    ("no.fodselsnummer", "Kunde {} ringte.", lambda d: birth(d, "dmy") + digits(d, 5), "6"),
    ("fi.hetu", "Tunnus {} on oikein.",
     lambda d: birth(d, "dmy") + "-" + digits(d, 3) + d.choice("0123456789ABCDEFHJKLMNPRSTUV"), ""),
    ("br.cpf", "CPF {} do cliente.",
     lambda d: grouped(digits(d, 9), [3, 3], ".") + "-" + digits(d, 2), ""),
    ("ch.ssn", "AHV {}.", lambda d: "756." + grouped(digits(d, 10), [4, 4], "."), ""),
    ("kr.rrn", "{} 입니다.", lambda d: birth(d) + "-" + d.choice("12") + digits(d, 6), ""),
    ("in_.aadhaar", "Aadhaar {} given.", lambda d: digits(d, 12), "4 4"),
)  # fmt: skip


def national_id(draw: Draw) -> tuple[str, str]:
    """A template, and a number as a state would give it."""
    if draw.random() < 0.05:  # a UK National Insurance number has no check digit
        start, end = draw.choice(["AB", "JG", "SX"]), draw.choice("ABCD")
        return "NI number {} was checked.", f"{start} {grouped(digits(draw, 6), [2, 2], ' ')} {end}"
    module, template, make, sizes = draw.choice(NATIONAL)
    valid = import_module(f"stdnum.{module}").is_valid
    number = make(draw)
    while not valid(number):
        number = make(draw)
    return template, grouped(number, [int(size) for size in sizes.split()], " ")


BIRTHS = (
    "She was born on {} in Rome.", "DOB: {}.", "Date of birth {}.", "D.O.B. {} per the file.",
    "Geburtsdatum: {}.", "geboren am {} in Köln.", "Né le {} à Lyon.", "née le {}.",
    "Fecha de nacimiento: {}.", "nato il {} a Torino.", "Födelsedatum {}.", "urodzona {}.",
    "Patient ({}) (DOB) seen.", "Birthday: {}!", "Geb. {}.", "birthdate={}",
)  # fmt: skip

SENTENCES: dict[str, tuple[str, ...]] = {
    "email": ("Write to {}.", "From: <{}>", "({}) asked again,", "mailto:{}?subject=Hi", "to='{}'"),
    "iban": ("Pay to {} by Friday.", "IBAN: {}", "Konto {}, danke.", "refund on {} please", "({})"),
    "card": ("My card {} was charged.", "Visa {}, exp 12/27", "pan={};", "charged {} twice."),
    "ip": ("Login from {}.", "Host [{}] is down", "client={}, ok", "Blocked {}/32", "{} - - GET"),
    "url": ("See {} for it.", "Link: <{}>", "curl '{}'", "({})"),
    "phone": ("Reach us on {}.", "My new number is {}, thanks.", "({})", "from {} at noon"),
}  # fmt: skip
ANNOUNCED = (
    "Tel. {}.",
    "Phone: {}",
    "call me at {} please",
    "Fax {}.",
    "mobile no. {}",
    "Handy: {}",
)
VALUES: dict[str, Callable[[Draw], str]] = {
    "email": email, "iban": iban, "card": card, "ip": ip, "url": secret_url, "phone": phone,
}  # fmt: skip


def plant(draw: Draw, planted: Planted, entity: str) -> None:
    """Add a sentence with one identifier."""
    if entity == "national_id":
        template, value = national_id(draw)
    elif entity == "date_of_birth":
        template, value = draw.choice(BIRTHS), date(draw)
    elif entity == "phone" and draw.random() < 0.4:
        template, value = draw.choice(ANNOUNCED), phone(draw, national=True)
    else:
        template, value = draw.choice(SENTENCES[entity]), VALUES[entity](draw)
    planted.add(template, entity, value)


def negative(draw: Draw) -> str:
    """A sentence with something that only looks like an identifier."""
    d = digits(draw, 20)
    h = f"{draw.getrandbits(160):040x}"
    isbn = "978" + d[:9]
    isbn += str(-sum(int(c) * (3 if i % 2 else 1) for i, c in enumerate(isbn)) % 10)
    return draw.choice(
        [
            f"Order {d[: draw.randint(5, 12)]} has not arrived.",
            f"Order no. {grouped(d[:12], [4, 4, 4], '-')} is late.",
            f"Order number {d[:16]} again.",
            f"Invoice INV-{draw.randint(2010, 2030)}-{d[:6]} is open.",
            f"Version {draw.randint(1, 20)}.{d[0]}.{d[1]}.{draw.randint(0, 99)} crashes.",
            f"Upgrade from v{d[0]}.{d[1]}.{d[2]}.{d[3]} to {d[4]}.{d[5]}.{d[6]} failed.",
            f"Mozilla/5.0 Chrome/{draw.randint(90, 130)}.0.0.0 Safari/537.36",
            f"It cost $1{d[0]},{d[:3]}.{d[3:5]} or {d[0]} {d[1:4]} {d[4:7]},{d[7:9]} €.",
            f"Shipped on {date(draw, 2015, 2030)}.",
            f"The meeting of {date(draw, 2015, 2030)} moved to {date(draw, 2015, 2030)}.",
            f"At 2024-05-{draw.randint(10, 28)}T{draw.randint(10, 23)}:30:45+0200 it stopped.",
            f"ts={draw.randint(10**9, 2 * 10**9)} and {draw.randint(10**12, 2 * 10**12)} ms",
            f"ISBN {isbn}, or {grouped(isbn, [3, 1, 4, 4, 1], '-')}.",
            f"ISBN-10 {d[0]}-{d[1:5]}-{d[5:9]}-{draw.choice('0123456789X')} is out of print.",
            f"EAN {d[:13]} is not listed.",
            f"Commit {h} broke it, {h[:7]} did not.",
            f"md5 {h[:32]}, id {uuid.UUID(int=draw.getrandbits(128))}.",
            f"MAC {grouped(h[:12], [2] * 6, ':')} at {draw.randint(10, 23)}:15:30.",
            f"key fingerprint {grouped(h[:32], [2] * 16, ':')}",
            f"Tracking 1Z{letters(draw, 3)}{d[:13]}, RR{d[:9]}CN or {grouped(d, [4] * 5, ' ')}.",
            f"At {d[:2]}.{d[2:8]}, -{d[8:10]}.{d[10:16]} on the map.",
            f"Pay to {iban(draw, wrong=draw.randint(1, 90))} was refused.",
            f"Card {card(draw, wrong=draw.randint(1, 9))} is mistyped.",
            f"See https://example.com/p/{d[:8]}?page={d[0]}&sort=asc for more.",
            "Thanks @annlee and @bob_99, logo@2x.png is missing.",
            f"npm i react@18.{d[0]}.{d[1]} and left-pad@1.3.0-rc.1",
            f"Part {d[:3]}-{d[3:6]}-{d[6:9]} or {d[:2]}-{d[2:7]}, CAS 7732-18-5.",
            f"SKU {letters(draw, 3)}-{d[:5]}-{letters(draw, 2)}, model {letters(draw, 2)}{d[:4]}.",
            f"std::vector<int> a; x::y({d[0]}), ratio {d[:2]}:{d[2:4]}",
            f"Section 3.2.1.{draw.randint(1, 20)} of the terms, 19{d[:2]}-20{d[2:4]}.",
            f"Reference {d[:9]}, account {d[9:19]}, ticket #{d[:7]}.",
            f"{draw.randint(1, 9)} 000 000 people, {d[:3]} {d[3:6]} {d[6:9]} of them here.",
            f"Flight LH{d[:4]} from gate B{d[4:6]}, seat 1{d[6]}C, 1920x1080, 4:3.",
            f"He lived 1923-1999 and was born in {draw.randint(1900, 1999)} in Paris.",
            f"doi:10.1000/{d[:6]}.{d[6:9]}, arXiv:2401.{d[:5]}, 300.{d[0]}.2.3 is no host.",
            f"IMEI {d[:15]} and serial {letters(draw, 2)}{d[:8]}.",
        ]
    )  # fmt: skip


PLAIN = (
    "The parcel came late and the box was open.", "Please tell me what to do next.",
    "I have been a customer for years, and this is new.", "Nobody answered my last message.",
    "Vielen Dank für die schnelle Hilfe!", "Le produit ne fonctionne plus depuis hier.",
    "El pedido llegó roto.", "昨日の注文について教えてください。", "It works again now, thank you.",
)  # fmt: skip

KINDS = ("email", "iban", "card", "ip", "url", "phone", "national_id", "date_of_birth")


def planted_texts(count: int, seed: int = 7) -> list[Planted]:
    """Texts of some sentences: about one and a half planted, one and a half that look alike."""
    draw = random.Random(seed)
    texts = []
    for i in range(count):
        wanted = [KINDS[i % len(KINDS)], *draw.sample(KINDS, draw.choice([0, 0, 1, 2]))]
        made = Planted()
        for part in draw.sample([*wanted, "", "", " "], len(wanted) + 3):
            if part in KINDS:
                plant(draw, made, part)
            else:
                made.add(draw.choice(PLAIN) if part else negative(draw))
        texts.append(made)
    return texts


def nationals(count: int, regions: tuple[str, ...], seed: int = 7) -> list[Planted]:
    """Phone numbers as they are written in their own country, with nothing to announce them."""
    draw = random.Random(seed)
    texts = []
    for _ in range(count):
        made = Planted()
        made.add(draw.choice(SENTENCES["phone"]), "phone", phone(draw, regions, national=True))
        made.add(negative(draw))
        texts.append(made)
    return texts
