-- Tokens of a text for an embedding model or the model named, without special tokens. NULL gives NULL.
-- returns: BIGINT
-- example: SELECT ai.count_tokens('hello world')
CREATE OR REPLACE MACRO ai.count_tokens(text,
    model := NULL, temperature := 0, max_tokens := NULL, seed := NULL,
    truncate := false, on_error := NULL, _stage := NULL) AS
    system.main.__ai_count_tokens(CAST(text AS VARCHAR), CAST(to_json({model: coalesce(model, getvariable('ai_embed_model')), temperature: temperature,
        max_tokens: max_tokens, seed: seed, truncate: truncate, on_error: on_error}) AS VARCHAR),
        current_query_id(), current_connection_id(), CAST(_stage AS BIGINT));
