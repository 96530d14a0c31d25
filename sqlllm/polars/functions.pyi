"""The public functions of sql/, written by `make reference`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, TypeAlias

import polars as pl

from sqlllm.connection import Connection
from sqlllm.sql import Definition

Column: TypeAlias = pl.Expr | pl.Series
Text: TypeAlias = str | Column
Labels: TypeAlias = Sequence[str] | Mapping[str, str | None] | Column
Names: TypeAlias = str | Sequence[str] | Column
Schema: TypeAlias = str | Mapping[str, Any] | Sequence[Any] | Column

def public() -> list[Definition]: ...

class Functions:
    """The functions on one connection, or on the default one; see `sqlllm.polars.using`."""

    def __init__(self, db: Connection | None = None) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def prompt(
        self,
        template: Text,
        *values: object,
    ) -> pl.Expr:
        """A text from a template and values: '{0}' is the first value, '{1}' the second, up to
        eight; or '{name}', with the values as a struct. '{{0}}' is the text '{0}', any other brace
        is text, and so are all braces in values. What comes before the first value is read once per
        batch by the model. NULL when a value that is used is NULL."""

    def complete(
        self,
        prompt: Text,
        *,
        system: Text | None = None,
        stop: Names | None = None,
        pattern: Text | None = None,
        schema: Schema | None = None,
        descriptions: Mapping[str, Any] | Column | None = None,
        top_p: float | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """Free text that answers a prompt; or text that a regular expression matches as a whole; or
        JSON of a given form, as in ai.extract, where `schema` is given. NULL gives NULL."""

    def try_complete(
        self,
        prompt: Text,
        *,
        system: Text | None = None,
        stop: Names | None = None,
        pattern: Text | None = None,
        schema: Schema | None = None,
        descriptions: Mapping[str, Any] | Column | None = None,
        top_p: float | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.complete, but what fails is told in `error` and stops no query."""

    def extract(
        self,
        text: Text,
        schema: Schema,
        *,
        instruction: Text | None = None,
        descriptions: Mapping[str, Any] | Column | None = None,
        top_p: float | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """JSON of a given form, read from a text: a struct of DuckDB types, in which every field
        may be null and ['DATE'] is a list of dates; a type's name, such as 'STRUCT(a DATE)' or
        'INTEGER[]'; or JSON Schema, as text, JSON or a struct with a JSON type, such as {'type':
        'object', ...}. `descriptions` says what fields mean: {'amount': 'in euros'}. Cast the
        answer to have columns: CAST(ai.extract(body, 'STRUCT(name VARCHAR, due DATE)') AS
        STRUCT(name VARCHAR, due DATE)). VARCHAR(n) bounds a text; an answer that is cut off at
        max_tokens is an error. NULL gives NULL."""

    def try_extract(
        self,
        text: Text,
        schema: Schema,
        *,
        instruction: Text | None = None,
        descriptions: Mapping[str, Any] | Column | None = None,
        top_p: float | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.extract, but what fails is told in `error` and stops no query."""

    def classify(
        self,
        text: Text,
        labels: Labels,
        *,
        instruction: Text | None = None,
        examples: Sequence[Mapping[str, str]] | Column | None = None,
        none_of_these: Text | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """One label of the set for each text, always. Labels are up to 1,000 names, or a struct or
        map of name and description. `none_of_these` names one more, for texts that none fits. NULL
        gives NULL."""

    def try_classify(
        self,
        text: Text,
        labels: Labels,
        *,
        instruction: Text | None = None,
        examples: Sequence[Mapping[str, str]] | Column | None = None,
        none_of_these: Text | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.classify, but what fails is told in `error` and stops no query."""

    def classify_scores(
        self,
        text: Text,
        labels: Labels,
        *,
        instruction: Text | None = None,
        examples: Sequence[Mapping[str, str]] | Column | None = None,
        none_of_these: Text | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """Every label with its probability, the highest first; they sum to 1. NULL gives NULL."""

    def try_classify_scores(
        self,
        text: Text,
        labels: Labels,
        *,
        instruction: Text | None = None,
        examples: Sequence[Mapping[str, str]] | Column | None = None,
        none_of_these: Text | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.classify_scores, but what fails is told in `error` and stops no query."""

    def classify_labels(
        self,
        text: Text,
        labels: Labels,
        *,
        instruction: Text | None = None,
        examples: Sequence[Mapping[str, str]] | Column | None = None,
        threshold: float = 0.5,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """All labels that fit a text, the most probable first, perhaps none: each is judged on its
        own and must reach the threshold. Labels are written as for ai.classify. NULL gives NULL."""

    def try_classify_labels(
        self,
        text: Text,
        labels: Labels,
        *,
        instruction: Text | None = None,
        examples: Sequence[Mapping[str, str]] | Column | None = None,
        threshold: float = 0.5,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.classify_labels, but what fails is told in `error` and stops no query."""

    def filter(
        self,
        text: Text,
        question: Text,
        *,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """Whether a predicate holds for a text. NULL gives NULL."""

    def try_filter(
        self,
        text: Text,
        question: Text,
        *,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.filter, but what fails is told in `error` and stops no query."""

    def match(
        self,
        a: Text,
        b: Text,
        relation: Text,
        *,
        strategy: Literal["exact", "blocking", "classify"] = "exact",
        recall: float = 0.95,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """Whether a relation holds between two texts, such as 'name the same product'; made for
        JOIN ... ON. In an inner join the rewriter can ask about likely pairs only: `strategy :=
        'blocking'` (each left text's nearest by embedding, as many as reach `recall` on a sample)
        or 'classify' (each left text chooses one of the right ones). The model reads a left text
        once for all its pairs: put the longer text there. NULL when either is NULL."""

    def try_match(
        self,
        a: Text,
        b: Text,
        relation: Text,
        *,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.match of every pair, but what fails is told in `error` and stops no query."""

    def score(
        self,
        text: Text,
        question: Text,
        *,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """The probability, 0 to 1, that the answer to a question about a text is yes. NULL gives
        NULL."""

    def try_score(
        self,
        text: Text,
        question: Text,
        *,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.score, but what fails is told in `error` and stops no query."""

    def embed(
        self,
        text: Text,
        *,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """The text as a vector of unit length. The session default is `SET VARIABLE ai_embed_model
        = ...`. NULL gives NULL."""

    def try_embed(
        self,
        text: Text,
        *,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.embed, but what fails is told in `error` and stops no query."""

    def similarity(
        self,
        a: Text,
        b: Text,
        *,
        model: Text | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """Cosine similarity of two texts, -1 to 1. NULL when either is NULL."""

    def try_similarity(
        self,
        a: Text,
        b: Text,
        *,
        model: Text | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.similarity, but what fails is told in `error` and stops no query."""

    def sentiment(
        self,
        text: Text,
        *,
        aspects: Names | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """'positive', 'negative', 'neutral' or 'mixed'. With `aspects`, a list of names, JSON text
        instead: an object of aspect and sentiment, null where the text says nothing of it. NULL
        gives NULL."""

    def try_sentiment(
        self,
        text: Text,
        *,
        aspects: Names | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.sentiment, but what fails is told in `error` and stops no query."""

    def moderate(
        self,
        text: Text,
        *,
        threshold: float | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """Whether a text does harm (hate, harassment, violence, self_harm, sexual, illicit), the
        likeliest kind where it is flagged, and the probability of any, which is flagged from
        `threshold` on: what suits minilm unless you measure your own. NULL gives NULL."""

    def try_moderate(
        self,
        text: Text,
        *,
        threshold: float | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.moderate, but what fails is told in `error` and stops no query."""

    def translate(
        self,
        text: Text,
        language: Text,
        *,
        source: Text | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """The text in another language, named in any way that the model understands: 'French', 'pt-
        BR'. `source` is the language of the text, where the model should not guess (`from` is a
        word of SQL's own). A translation that is cut off is an error. NULL gives NULL."""

    def try_translate(
        self,
        text: Text,
        language: Text,
        *,
        source: Text | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.translate, but what fails is told in `error` and stops no query."""

    def fix_grammar(
        self,
        text: Text,
        *,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """The text with its grammar and spelling corrected, in its own language and words. A
        correction that is cut off is an error. NULL gives NULL."""

    def try_fix_grammar(
        self,
        text: Text,
        *,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.fix_grammar, but what fails is told in `error` and stops no query."""

    def answer(
        self,
        question: Text,
        context: Text,
        *,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """The answer to a question from a context alone; NULL where the context doesn't say, or
        either is NULL."""

    def try_answer(
        self,
        question: Text,
        context: Text,
        *,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.answer, but what fails is told in `error` and stops no query."""

    def rerank(
        self,
        query: Text,
        text: Text,
        *,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """How well a text answers a query, 0 to 1: P(yes) by a language model that reads both; to
        sort what a search found. NULL when either is NULL."""

    def try_rerank(
        self,
        query: Text,
        text: Text,
        *,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.rerank, but what fails is told in `error` and stops no query."""

    def redact(
        self,
        text: Text,
        *,
        entities: Names | None = None,
        mode: Literal["mask", "pseudonym", "detect"] = "mask",
        region: Names | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """The text without what names or reaches a person. `mode` is 'mask' ([EMAIL]), 'pseudonym'
        (such as EMAIL_3f9a2c41d07b, the same wherever it comes back in the query; with `seed` in
        every query, but whoever knows the seed can try addresses until one fits, so keep it as
        secret as a key) or 'detect' (what was found, as JSON text: a list of entity, start, end,
        text, counted in characters from 0; CAST(... AS JSON)). `entities` are by default those
        found by rules: email, phone, iban, card, ip, national_id, date_of_birth, and url (one with
        a password, token or signature in it; others stay). A language model is asked, once per
        text, for person, place and organisation where they are named, or 'all'. `region` ('US', or
        a list) adds phone numbers as they are written in those countries. NULL gives NULL. A text
        for which the model fails is an error or NULL, never let through; so there is no `truncate`:
        what a model doesn't read, it can't redact."""

    def try_redact(
        self,
        text: Text,
        *,
        entities: Names | None = None,
        mode: Literal["mask", "pseudonym", "detect"] = "mask",
        region: Names | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
    ) -> pl.Expr:
        """As ai.redact, but what fails is told in `error` and stops no query."""

    def summarize(
        self,
        text: Text,
        *,
        max_words: int | None = None,
        style: Text | None = None,
        top_p: float | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """A summary of each text, of at most `max_words` words if the model keeps to it (they are
        asked for, not enforced), in a style: 'bullets', 'one sentence', 'for a lawyer'. A text that
        is longer than the model's window is summarised part by part, and the summaries again:
        nothing is cut off. NULL gives NULL."""

    def try_summarize(
        self,
        text: Text,
        *,
        max_words: int | None = None,
        style: Text | None = None,
        top_p: float | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
    ) -> pl.Expr:
        """As ai.summarize, but what fails is told in `error` and stops no query."""

    def agg(
        self,
        text: Text,
        instruction: Text,
        *,
        top_p: float | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """One answer about all texts of a group, in any GROUP BY or without one: an aggregate.
        Texts that don't fit in one prompt are asked about in parts, and the answers combined. Texts
        are sorted first, so that their physical order doesn't matter; equal ones are sent once,
        with how often they occur. Planned connections also take DISTINCT, ORDER BY, FILTER and
        OVER, as for any aggregate; elsewhere DuckDB refuses them. NULLs are left out; a group
        without texts gives NULL."""

    def try_agg(
        self,
        text: Text,
        instruction: Text,
        *,
        top_p: float | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
    ) -> pl.Expr:
        """As ai.agg, but what fails is told in `error` and stops no query."""

    def summarize_agg(
        self,
        text: Text,
        *,
        max_words: int | None = None,
        style: Text | None = None,
        top_p: float | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """A summary of all texts of a group: an aggregate, as `ai.agg`; `max_words` and `style` as
        for `ai.summarize`. NULLs are left out; a group without texts gives NULL."""

    def try_summarize_agg(
        self,
        text: Text,
        *,
        max_words: int | None = None,
        style: Text | None = None,
        top_p: float | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
    ) -> pl.Expr:
        """As ai.summarize_agg, but what fails is told in `error` and stops no query."""

    def count_tokens(
        self,
        text: Text,
        *,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """Tokens of a text for an embedding model or the model named, without special tokens. NULL
        gives NULL."""

    def try_count_tokens(
        self,
        text: Text,
        *,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.count_tokens, but what fails is told in `error` and stops no query."""

    def split_text(
        self,
        text: Text,
        *,
        max_tokens: int | None = None,
        overlap: int = 0,
        markdown: bool = False,
        model: Text | None = None,
    ) -> pl.Expr:
        """A text in chunks of at most `max_tokens` tokens of the embedding model, cut where
        paragraphs, lines, sentences or words end, the largest that fit; with `markdown := true`
        where sections and blocks do. `text[start + 1:end]` is the chunk: `start` and `end` count
        characters; nothing but white space is left out between chunks. Neighbours share up to
        `overlap` tokens. `max_tokens := NULL` is what the model reads, at most 256. Needs the extra
        `search`. NULL gives NULL, '' an empty list."""

    def try_split_text(
        self,
        text: Text,
        *,
        max_tokens: int | None = None,
        overlap: int = 0,
        markdown: bool = False,
        model: Text | None = None,
    ) -> pl.Expr:
        """As ai.split_text, but what fails is told in `error` and stops no query."""

    def rrf(
        self,
        ranks: Column,
        *,
        k: int = 60,
    ) -> pl.Expr:
        """Reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009): one score from the ranks, 1
        for the best, that several searches gave a row: the sum of 1 / (k + rank). A NULL rank, not
        found, adds nothing. NULL where all are NULL."""

class Expressions:
    """What `pl.col(...).ai` has: the functions, with the expression as the row's data."""

    def __init__(self, expr: pl.Expr) -> None: ...
    def prompt(
        self,
        template: Text,
        *values: object,
    ) -> pl.Expr:
        """A text from a template and values: '{0}' is the first value, '{1}' the second, up to
        eight; or '{name}', with the values as a struct. '{{0}}' is the text '{0}', any other brace
        is text, and so are all braces in values. What comes before the first value is read once per
        batch by the model. NULL when a value that is used is NULL."""

    def complete(
        self,
        *,
        system: Text | None = None,
        stop: Names | None = None,
        pattern: Text | None = None,
        schema: Schema | None = None,
        descriptions: Mapping[str, Any] | Column | None = None,
        top_p: float | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """Free text that answers a prompt; or text that a regular expression matches as a whole; or
        JSON of a given form, as in ai.extract, where `schema` is given. NULL gives NULL."""

    def try_complete(
        self,
        *,
        system: Text | None = None,
        stop: Names | None = None,
        pattern: Text | None = None,
        schema: Schema | None = None,
        descriptions: Mapping[str, Any] | Column | None = None,
        top_p: float | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.complete, but what fails is told in `error` and stops no query."""

    def extract(
        self,
        schema: Schema,
        *,
        instruction: Text | None = None,
        descriptions: Mapping[str, Any] | Column | None = None,
        top_p: float | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """JSON of a given form, read from a text: a struct of DuckDB types, in which every field
        may be null and ['DATE'] is a list of dates; a type's name, such as 'STRUCT(a DATE)' or
        'INTEGER[]'; or JSON Schema, as text, JSON or a struct with a JSON type, such as {'type':
        'object', ...}. `descriptions` says what fields mean: {'amount': 'in euros'}. Cast the
        answer to have columns: CAST(ai.extract(body, 'STRUCT(name VARCHAR, due DATE)') AS
        STRUCT(name VARCHAR, due DATE)). VARCHAR(n) bounds a text; an answer that is cut off at
        max_tokens is an error. NULL gives NULL."""

    def try_extract(
        self,
        schema: Schema,
        *,
        instruction: Text | None = None,
        descriptions: Mapping[str, Any] | Column | None = None,
        top_p: float | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.extract, but what fails is told in `error` and stops no query."""

    def classify(
        self,
        labels: Labels,
        *,
        instruction: Text | None = None,
        examples: Sequence[Mapping[str, str]] | Column | None = None,
        none_of_these: Text | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """One label of the set for each text, always. Labels are up to 1,000 names, or a struct or
        map of name and description. `none_of_these` names one more, for texts that none fits. NULL
        gives NULL."""

    def try_classify(
        self,
        labels: Labels,
        *,
        instruction: Text | None = None,
        examples: Sequence[Mapping[str, str]] | Column | None = None,
        none_of_these: Text | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.classify, but what fails is told in `error` and stops no query."""

    def classify_scores(
        self,
        labels: Labels,
        *,
        instruction: Text | None = None,
        examples: Sequence[Mapping[str, str]] | Column | None = None,
        none_of_these: Text | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """Every label with its probability, the highest first; they sum to 1. NULL gives NULL."""

    def try_classify_scores(
        self,
        labels: Labels,
        *,
        instruction: Text | None = None,
        examples: Sequence[Mapping[str, str]] | Column | None = None,
        none_of_these: Text | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.classify_scores, but what fails is told in `error` and stops no query."""

    def classify_labels(
        self,
        labels: Labels,
        *,
        instruction: Text | None = None,
        examples: Sequence[Mapping[str, str]] | Column | None = None,
        threshold: float = 0.5,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """All labels that fit a text, the most probable first, perhaps none: each is judged on its
        own and must reach the threshold. Labels are written as for ai.classify. NULL gives NULL."""

    def try_classify_labels(
        self,
        labels: Labels,
        *,
        instruction: Text | None = None,
        examples: Sequence[Mapping[str, str]] | Column | None = None,
        threshold: float = 0.5,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.classify_labels, but what fails is told in `error` and stops no query."""

    def filter(
        self,
        question: Text,
        *,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """Whether a predicate holds for a text. NULL gives NULL."""

    def try_filter(
        self,
        question: Text,
        *,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.filter, but what fails is told in `error` and stops no query."""

    def match(
        self,
        b: Text,
        relation: Text,
        *,
        strategy: Literal["exact", "blocking", "classify"] = "exact",
        recall: float = 0.95,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """Whether a relation holds between two texts, such as 'name the same product'; made for
        JOIN ... ON. In an inner join the rewriter can ask about likely pairs only: `strategy :=
        'blocking'` (each left text's nearest by embedding, as many as reach `recall` on a sample)
        or 'classify' (each left text chooses one of the right ones). The model reads a left text
        once for all its pairs: put the longer text there. NULL when either is NULL."""

    def try_match(
        self,
        b: Text,
        relation: Text,
        *,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.match of every pair, but what fails is told in `error` and stops no query."""

    def score(
        self,
        question: Text,
        *,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """The probability, 0 to 1, that the answer to a question about a text is yes. NULL gives
        NULL."""

    def try_score(
        self,
        question: Text,
        *,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.score, but what fails is told in `error` and stops no query."""

    def embed(
        self,
        *,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """The text as a vector of unit length. The session default is `SET VARIABLE ai_embed_model
        = ...`. NULL gives NULL."""

    def try_embed(
        self,
        *,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.embed, but what fails is told in `error` and stops no query."""

    def similarity(
        self,
        b: Text,
        *,
        model: Text | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """Cosine similarity of two texts, -1 to 1. NULL when either is NULL."""

    def try_similarity(
        self,
        b: Text,
        *,
        model: Text | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.similarity, but what fails is told in `error` and stops no query."""

    def sentiment(
        self,
        *,
        aspects: Names | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """'positive', 'negative', 'neutral' or 'mixed'. With `aspects`, a list of names, JSON text
        instead: an object of aspect and sentiment, null where the text says nothing of it. NULL
        gives NULL."""

    def try_sentiment(
        self,
        *,
        aspects: Names | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.sentiment, but what fails is told in `error` and stops no query."""

    def moderate(
        self,
        *,
        threshold: float | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """Whether a text does harm (hate, harassment, violence, self_harm, sexual, illicit), the
        likeliest kind where it is flagged, and the probability of any, which is flagged from
        `threshold` on: what suits minilm unless you measure your own. NULL gives NULL."""

    def try_moderate(
        self,
        *,
        threshold: float | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.moderate, but what fails is told in `error` and stops no query."""

    def translate(
        self,
        language: Text,
        *,
        source: Text | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """The text in another language, named in any way that the model understands: 'French', 'pt-
        BR'. `source` is the language of the text, where the model should not guess (`from` is a
        word of SQL's own). A translation that is cut off is an error. NULL gives NULL."""

    def try_translate(
        self,
        language: Text,
        *,
        source: Text | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.translate, but what fails is told in `error` and stops no query."""

    def fix_grammar(
        self,
        *,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """The text with its grammar and spelling corrected, in its own language and words. A
        correction that is cut off is an error. NULL gives NULL."""

    def try_fix_grammar(
        self,
        *,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.fix_grammar, but what fails is told in `error` and stops no query."""

    def answer(
        self,
        question: Text,
        *,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """The answer to a question from a context alone; NULL where the context doesn't say, or
        either is NULL."""

    def try_answer(
        self,
        question: Text,
        *,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.answer, but what fails is told in `error` and stops no query."""

    def rerank(
        self,
        query: Text,
        *,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """How well a text answers a query, 0 to 1: P(yes) by a language model that reads both; to
        sort what a search found. NULL when either is NULL."""

    def try_rerank(
        self,
        query: Text,
        *,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.rerank, but what fails is told in `error` and stops no query."""

    def redact(
        self,
        *,
        entities: Names | None = None,
        mode: Literal["mask", "pseudonym", "detect"] = "mask",
        region: Names | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """The text without what names or reaches a person. `mode` is 'mask' ([EMAIL]), 'pseudonym'
        (such as EMAIL_3f9a2c41d07b, the same wherever it comes back in the query; with `seed` in
        every query, but whoever knows the seed can try addresses until one fits, so keep it as
        secret as a key) or 'detect' (what was found, as JSON text: a list of entity, start, end,
        text, counted in characters from 0; CAST(... AS JSON)). `entities` are by default those
        found by rules: email, phone, iban, card, ip, national_id, date_of_birth, and url (one with
        a password, token or signature in it; others stay). A language model is asked, once per
        text, for person, place and organisation where they are named, or 'all'. `region` ('US', or
        a list) adds phone numbers as they are written in those countries. NULL gives NULL. A text
        for which the model fails is an error or NULL, never let through; so there is no `truncate`:
        what a model doesn't read, it can't redact."""

    def try_redact(
        self,
        *,
        entities: Names | None = None,
        mode: Literal["mask", "pseudonym", "detect"] = "mask",
        region: Names | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
    ) -> pl.Expr:
        """As ai.redact, but what fails is told in `error` and stops no query."""

    def summarize(
        self,
        *,
        max_words: int | None = None,
        style: Text | None = None,
        top_p: float | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """A summary of each text, of at most `max_words` words if the model keeps to it (they are
        asked for, not enforced), in a style: 'bullets', 'one sentence', 'for a lawyer'. A text that
        is longer than the model's window is summarised part by part, and the summaries again:
        nothing is cut off. NULL gives NULL."""

    def try_summarize(
        self,
        *,
        max_words: int | None = None,
        style: Text | None = None,
        top_p: float | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
    ) -> pl.Expr:
        """As ai.summarize, but what fails is told in `error` and stops no query."""

    def agg(
        self,
        instruction: Text,
        *,
        top_p: float | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """One answer about all texts of a group, in any GROUP BY or without one: an aggregate.
        Texts that don't fit in one prompt are asked about in parts, and the answers combined. Texts
        are sorted first, so that their physical order doesn't matter; equal ones are sent once,
        with how often they occur. Planned connections also take DISTINCT, ORDER BY, FILTER and
        OVER, as for any aggregate; elsewhere DuckDB refuses them. NULLs are left out; a group
        without texts gives NULL."""

    def try_agg(
        self,
        instruction: Text,
        *,
        top_p: float | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
    ) -> pl.Expr:
        """As ai.agg, but what fails is told in `error` and stops no query."""

    def summarize_agg(
        self,
        *,
        max_words: int | None = None,
        style: Text | None = None,
        top_p: float | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """A summary of all texts of a group: an aggregate, as `ai.agg`; `max_words` and `style` as
        for `ai.summarize`. NULLs are left out; a group without texts gives NULL."""

    def try_summarize_agg(
        self,
        *,
        max_words: int | None = None,
        style: Text | None = None,
        top_p: float | None = None,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
    ) -> pl.Expr:
        """As ai.summarize_agg, but what fails is told in `error` and stops no query."""

    def count_tokens(
        self,
        *,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
        on_error: Literal["fail", "null"] | None = None,
    ) -> pl.Expr:
        """Tokens of a text for an embedding model or the model named, without special tokens. NULL
        gives NULL."""

    def try_count_tokens(
        self,
        *,
        model: Text | None = None,
        temperature: float = 0,
        max_tokens: int | None = None,
        seed: int | None = None,
        truncate: bool = False,
    ) -> pl.Expr:
        """As ai.count_tokens, but what fails is told in `error` and stops no query."""

    def split_text(
        self,
        *,
        max_tokens: int | None = None,
        overlap: int = 0,
        markdown: bool = False,
        model: Text | None = None,
    ) -> pl.Expr:
        """A text in chunks of at most `max_tokens` tokens of the embedding model, cut where
        paragraphs, lines, sentences or words end, the largest that fit; with `markdown := true`
        where sections and blocks do. `text[start + 1:end]` is the chunk: `start` and `end` count
        characters; nothing but white space is left out between chunks. Neighbours share up to
        `overlap` tokens. `max_tokens := NULL` is what the model reads, at most 256. Needs the extra
        `search`. NULL gives NULL, '' an empty list."""

    def try_split_text(
        self,
        *,
        max_tokens: int | None = None,
        overlap: int = 0,
        markdown: bool = False,
        model: Text | None = None,
    ) -> pl.Expr:
        """As ai.split_text, but what fails is told in `error` and stops no query."""

    def rrf(
        self,
        *,
        k: int = 60,
    ) -> pl.Expr:
        """Reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009): one score from the ranks, 1
        for the best, that several searches gave a row: the sum of 1 / (k + rank). A NULL rank, not
        found, adds nothing. NULL where all are NULL."""
