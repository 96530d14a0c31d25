-- Cosine similarity of two texts, -1 to 1. NULL when either is NULL.
-- returns: DOUBLE
-- example: SELECT ai.similarity('a cat', 'a kitten') > 0.5
CREATE OR REPLACE MACRO ai.similarity(a, b, model := NULL, truncate := false,
    on_error := NULL, _stage := NULL) AS
    -- Unlike an inner product of rounded vectors, DuckDB keeps this one within 1.
    CAST(list_cosine_similarity(
        ai.embed(a, model := model, truncate := truncate, on_error := on_error, _stage := _stage),
        ai.embed(b, model := model, truncate := truncate, on_error := on_error, _stage := _stage)) AS DOUBLE);
