-- The text as a vector of unit length. The session default is `SET VARIABLE ai_embed_model = ...`.
-- NULL gives NULL.
-- returns: FLOAT[]
-- example: SELECT ai.embed('hello')[1:3]
CREATE OR REPLACE MACRO ai.embed(text,
    model := NULL, temperature := 0, max_tokens := NULL, seed := NULL,
    truncate := false, on_error := NULL, _stage := NULL) AS
    system.main.__ai_embed(CAST(text AS VARCHAR), CAST(to_json({model: coalesce(model, getvariable('ai_embed_model')), temperature: temperature,
        max_tokens: max_tokens, seed: seed, truncate: truncate, on_error: on_error}) AS VARCHAR),
        current_query_id(), current_connection_id(), CAST(_stage AS BIGINT));
