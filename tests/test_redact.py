from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import KINDS, PLAIN, SENTENCES, VALUES, Draw, nationals, negative, planted_texts

import sqlllm
from sqlllm.redact.entities import RULES, Span, apart
from sqlllm.redact.national import NATIONAL_IDS


@pytest.fixture(scope="module")
def rules() -> Iterator[sqlllm.Connection]:
    """A connection whose model refuses to be asked."""

    def refuse(task: sqlllm.Task, text: str) -> Any:
        raise AssertionError(text)

    with sqlllm.connect(models={"fake": sqlllm.FakeModel(refuse)}, model="fake") as con:
        yield con


def redacted(db: sqlllm.Connection, texts: list[str], options: str = "") -> list[Any]:
    """`ai.redact` of each text, in their order."""
    rows = db.execute(
        f"SELECT ai.redact(x{options}) FROM "
        "(SELECT unnest($1) AS x, generate_subscripts($1, 1) AS i) ORDER BY i",
        [texts],
    )
    return [row[0] for row in rows.fetchall()]


def detected(db: sqlllm.Connection, texts: list[str], options: str = "") -> list[Any]:
    return [json.loads(row) for row in redacted(db, texts, f", mode := 'detect'{options}")]


def counted(
    db: sqlllm.Connection, texts: list[Any], options: str = ""
) -> dict[str, tuple[float, float]]:
    """Recall and precision per entity: the same characters under the same name, or it is missed."""
    planted, found, right = Counter[str](), Counter[str](), Counter[str]()
    for made, spans in zip(texts, detected(db, [t.text for t in texts], options), strict=True):
        got = {(s["start"], s["end"], s["entity"]) for s in spans}
        planted.update(entity for _, _, entity in made.spans)
        found.update(entity for _, _, entity in got)
        right.update(entity for _, _, entity in got & made.spans)
    return {kind: (right[kind] / planted[kind], right[kind] / found[kind]) for kind in planted}


def test_planted_identifiers_are_found_among_what_only_looks_like_them(
    rules: sqlllm.Connection,
) -> None:
    scores = counted(rules, planted_texts(2000, seed=101))
    assert scores.keys() == set(KINDS) == set(RULES)
    for kind in ("email", "iban", "card", "ip"):
        assert scores[kind][0] >= 0.99, (kind, scores[kind])
    for kind, (recall, precision) in scores.items():
        assert recall >= 0.98, (kind, recall)
        assert precision >= (0.95 if kind == "card" else 0.98), (kind, precision)


@pytest.mark.parametrize("region", ["US", "DE", "GB", "FR"])
def test_national_phone_numbers_need_their_region(rules: sqlllm.Connection, region: str) -> None:
    texts = nationals(150, (region,))
    recall, precision = counted(rules, texts, f", entities := 'phone', region := '{region}'")[
        "phone"
    ]
    assert recall >= 0.98
    assert precision >= 0.95
    alone, _ = counted(rules, texts, ", entities := 'phone'")["phone"]
    assert alone < 0.5  # those that a word announces


def test_international_phone_numbers_of_every_country(rules: sqlllm.Connection) -> None:
    import phonenumbers as known

    numbers = [
        known.format_number(example, form)
        for region in known.SUPPORTED_REGIONS
        for form in (known.PhoneNumberFormat.INTERNATIONAL, known.PhoneNumberFormat.E164)
        for kind in (known.PhoneNumberType.FIXED_LINE, known.PhoneNumberType.MOBILE)
        if (example := known.example_number_for_type(region, kind)) is not None
    ]
    assert len(numbers) > 900
    masked = redacted(rules, [f"Number {number}, thanks." for number in numbers])
    assert set(masked) == {"Number [PHONE], thanks."}


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Write to Ann.Lee+x@Example.ORG!", "Write to [EMAIL]!"),
        ("ａｎｎ＠example.org, 4111\u00a01111\u00a01111\u00a01111", "[EMAIL], [CARD]"),
        ("AB12 we pay DE89 3704 0044 0532 0130 00 now", "AB12 we pay [IBAN] now"),
        ("::ffff:10.0.0.7 and fe80::1%eth0, 10.0.0.1:80", "[IP] and [IP], [IP]:80"),
        ("born 12.03.1985, married 12.03.2010", "born [DATE_OF_BIRTH], married 12.03.2010"),
        ("(415) 555-2671 or +1 415 555 2671 ext. 12", "(415) 555-2671 or [PHONE]"),
        ("call me at 030 901820, order 030901820", "call me at [PHONE], order 030901820"),
        ("https://a.io/?page=2 https://a.io/?token=x.", "https://a.io/?page=2 [URL]."),
        ("https://a.io/?mail=ann@example.org", "https://a.io/?mail=[EMAIL]"),
        ("BSN 111222333, order 111222333", "BSN [NATIONAL_ID], order 111222333"),
        ("111222333 (BSN)", "[NATIONAL_ID] (BSN)"),
        # fields of a list, dashes, Markdown, and scripts without spaces stand right beside them
        ("Ann,+442079460958,London", "Ann,[PHONE],London"),
        ("+14155552671,94105 +14155552671:1", "[PHONE],94105 [PHONE]:1"),
        ("+44 20 7946 0958,X1234567L", "[PHONE],[NATIONAL_ID]"),
        ("ann@example.com—or bob@example.com- no", "[EMAIL]—or [EMAIL]- no"),
        ("_4111111111111111_ _10.0.0.7_ _536-90-4399_", "_[CARD]_ _[IP]_ _[NATIONAL_ID]_"),
        ("4111111111111111,12/27 536-90-4399,94105", "[CARD],12/27 [NATIONAL_ID],94105"),
        ("账号DE89370400440532013000, ann@example.co.jp担当2", "账号[IBAN], [EMAIL]担当2"),
        ("4111111111111111,12 EUR, react@18.2.0-rc.next, logo@2x.png", None),
        # what nobody sees, within or between, and digits of any script
        ("an\u200bn@exam\u00adple.org\u200b!", "[EMAIL]\u200b!"),
        ("chloe\u0301@example.org", "[EMAIL]"),
        ("\u202a+49\u200e 30 901820\u202c", "\u202a[PHONE]\u202c"),
        ("4111\u20601111\u200b11111111 4111111111111111\u200b12/27", "[CARD] [CARD]\u200b12/27"),
        ("+௪௯ ௩௦ ௯௦௧௮௨௦", "[PHONE]"),
        ("version 4.2.1.0, 4.2.1.300, 10:30:45, a::b", None),
        ("4111111111111112 and DE89370400440532013001", None),
        ("", None),
        (None, None),
    ],
)
def test_masks(rules: sqlllm.Connection, text: str | None, masked: str | None) -> None:
    assert redacted(rules, [text]) == [masked or text]  # type: ignore[list-item]


def test_only_the_entities_that_are_named(rules: sqlllm.Connection) -> None:
    text = "ann@example.org from 10.0.0.1"
    assert redacted(rules, [text], ", entities := 'ip'") == ["ann@example.org from [IP]"]
    assert redacted(rules, [text], ", entities := ['ip', 'email']") == ["[EMAIL] from [IP]"]


def test_every_national_id_can_be_checked() -> None:
    for kind in NATIONAL_IDS:
        assert kind.sure or (kind.near and kind.words)
        assert not kind.module or import_module(f"stdnum.{kind.module}").is_valid


def test_overlaps_keep_all_that_was_found() -> None:
    long, short = Span(0, 8, "phone", "a"), Span(6, 12, "card", "b")
    assert apart("12345678 901", [short, long]) == [long, Span(8, 12, "card", " 901")]
    assert apart("12345678", [Span(0, 8, "phone", "a"), Span(0, 8, "card", "b")]) == [
        Span(0, 8, "card", "b")
    ]


@st.composite
def mixed(draw: Any) -> str:
    """Identifiers, look-alikes and noise, put together without care."""
    chance = Draw(draw(st.integers(0, 2**32)))
    made = []
    for part in draw(
        st.lists(st.sampled_from(["value", "sentence", "negative", "noise"]), max_size=6)
    ):
        kind = chance.choice(sorted(VALUES))
        value = VALUES[kind](chance)
        made.append(
            {
                "value": value,
                "sentence": chance.choice(SENTENCES[kind]).replace("{}", value),
                "negative": negative(chance),
                "noise": draw(st.text("0123456789 +-./:@()[]{}aZé_=&?\n\u00a0", max_size=12)),
            }[part]
        )
    return draw(st.sampled_from([" ", "\n", ", "])).join(made)


@settings(max_examples=25)
@given(st.lists(mixed(), min_size=1, max_size=20))
def test_what_is_detected_is_what_is_masked_and_once_is_enough(
    rules: sqlllm.Connection, texts: list[str]
) -> None:
    region = ", region := ['US', 'DE']"
    masked = redacted(rules, texts, region)
    for text, spans, result in zip(texts, detected(rules, texts, region), masked, strict=True):
        expected, at = "", 0
        for span in spans:
            assert text[span["start"] : span["end"]] == span["text"]
            assert span["start"] >= at
            expected += text[at : span["start"]] + f"[{span['entity'].upper()}]"
            at = span["end"]
        assert result == expected + text[at:]
    assert redacted(rules, masked, region) == masked


@settings(max_examples=25)
@given(st.lists(st.text(st.characters(exclude_categories=["Nd", "Cs"], exclude_characters="@\0"))))
def test_texts_without_entities_come_back_as_they_are(
    rules: sqlllm.Connection, texts: list[str]
) -> None:
    texts += PLAIN
    plain = [text.replace("://", ":/") for text in texts]
    assert redacted(rules, plain) == plain
    assert redacted(rules, plain, ", mode := 'pseudonym'") == plain
    assert detected(rules, plain) == [[]] * len(plain)


def test_pseudonyms_are_the_same_in_all_chunks_threads_and_columns(
    rules: sqlllm.Connection,
) -> None:
    rules.execute("SET threads = 4")
    rules.execute("""
        CREATE OR REPLACE TABLE many AS SELECT i % 97 AS n,
            'Mail ' || CASE WHEN i % 2 = 0 THEN 'Ann' ELSE 'ANN' END || (i % 97)
            || '@example.org' AS x FROM range(250_000) t(i)""")
    query = """
        SELECT n, list(DISTINCT y), list(DISTINCT z) FROM (
            SELECT n, ai.redact(x, mode := 'pseudonym') AS y,
                ai.redact(upper(x) || '!', mode := 'pseudonym') AS z FROM many)
        GROUP BY n ORDER BY n"""
    first = rules.execute(query).fetchall()
    assert len({y for _, (y,), _ in first}) == 97
    assert all(f"{y.upper()}!" == z.upper() for _, (y,), (z,) in first)
    second = rules.execute(query).fetchall()
    assert not {y for _, (y,), _ in first} & {y for _, (y,), _ in second}


@pytest.mark.parametrize("rewrite", [True, False])
def test_pseudonyms_of_5000_rows(rewrite: bool) -> None:
    with sqlllm.connect(rewrite=rewrite) as db:
        db.execute(
            "CREATE TABLE t AS SELECT 'a' || (i % 1250) || '@a.org' AS x FROM range(5000) t(i)"
        )
        call = "ai.redact(x, mode := 'pseudonym'{})"
        query = f"SELECT x, list(DISTINCT {call}) FROM t GROUP BY x ORDER BY x"
        rows = db.execute(query.format("")).fetchall()
        assert len({name for _, (name,) in rows}) == len(rows) == 1250
        seeded = db.execute(query.format(", seed := 42")).fetchall()
        assert seeded == db.execute(query.format(", seed := 42")).fetchall()
        assert seeded != db.execute(query.format(", seed := 43")).fetchall()
        one = "SELECT ai.redact('a@a.org', mode := 'pseudonym', seed := 42)"
        assert db.execute(one).fetchone() == (
            "EMAIL_5be9cb3cb21a",
        )  # as of earlier versions, for joins


def test_spellings_of_one_thing_have_one_pseudonym(rules: sqlllm.Connection) -> None:
    for spellings, options in [
        (["Ann@Example.org", "ann@example.ORG"], ""),
        (["4111 1111 1111 1111", "4111-1111-1111-1111", "4111111111111111"], ""),
        (["DE89 3704 0044 0532 0130 00", "de89370400440532013000"], ""),
        (["2001:DB8:0:0:0:0:0:1", "2001:db8::1"], ""),
        (["(415) 555-2671", "+1 415 555 2671", "+14155552671"], ", region := 'US'"),
    ]:
        names = redacted(rules, spellings, f", mode := 'pseudonym'{options}")
        assert len(set(names)) == 1, names
        entity, _, digits = names[0].rpartition("_")
        assert entity.lower() in RULES
        assert len(bytes.fromhex(digits)) == 6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("ai.redact('a', mode := 'msk')", "there is no mode 'msk'\nHint: did you mean `mask`?"),
        ("ai.redact('a', mode := NULL)", "there is no mode ''"),
        ("ai.redact('a', entities := ['emial'])", "'emial'\nHint: did you mean `email`?"),
        ("ai.redact('a', entities := 7)", "entities must be text or a list of texts, not 7"),
        (
            "ai.redact('a', region := 'Germany')",
            "no region 'Germany' of phone numbers\nHint: write",
        ),
        (
            "ai.redact('a', mode := 'pseudonym', seed := 'x')",
            "seed must be a whole number, not 'x'",
        ),
        ("ai.redact('a', truncate := true)", "ai.redact has no argument 'truncate'"),
    ],
)
def test_wrong_options(rules: sqlllm.Connection, call: str, message: str) -> None:
    with pytest.raises(sqlllm.SqlllmError) as raised:
        rules.execute(f"SELECT {call} FROM range(3)").fetchall()
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("package", "entities"), [("phonenumbers", "['phone']"), ("stdnum", "['card']")]
)
def test_a_missing_library_is_named(
    monkeypatch: pytest.MonkeyPatch, rules: sqlllm.Connection, package: str, entities: str
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(sqlllm.ConfigError, match=f"'{package}'.*\n.*pip install 'sqlllm.redact.'"):
        rules.execute(f"SELECT ai.redact('a', entities := {entities})").fetchall()
    assert redacted(rules, ["a@b.co"], ", entities := ['email', 'ip']") == ["[EMAIL]"]


def test_on_a_bare_connection() -> None:
    with duckdb.connect() as con:
        sqlllm.install(con)
        rows = con.execute("SELECT ai_redact(x) FROM (VALUES ('a@b.co'), (NULL)) t(x)").fetchall()
        assert rows == [("[EMAIL]",), (None,)]
