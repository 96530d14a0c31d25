-- As ai.similarity, but what fails is told in `error` and stops no query.
-- returns: STRUCT(value DOUBLE, error VARCHAR)
-- example: SELECT ai.try_similarity('a cat', 'a kitten').value > 0.5
CREATE OR REPLACE MACRO ai.try_similarity(a, b, model := NULL, truncate := false, _stage := NULL) AS
    list_transform([{known: a IS NOT NULL AND b IS NOT NULL,
        a: ai.try_embed(a, model := model, truncate := truncate, _stage := _stage),
        b: ai.try_embed(b, model := model, truncate := truncate, _stage := _stage)}],
        lambda pair: {value: CAST(list_cosine_similarity(pair.a.value, pair.b.value) AS DOUBLE),
            error: CASE WHEN pair.known THEN coalesce(pair.a.error, pair.b.error) END})[1];
