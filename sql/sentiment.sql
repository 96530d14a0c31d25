-- 'positive', 'negative', 'neutral' or 'mixed'. With `aspects`, a list of names, JSON text instead:
-- an object of aspect and sentiment, null where the text says nothing of it. NULL gives NULL.
-- returns: VARCHAR
-- example: SELECT ai.sentiment('The room was lovely, the service slow.', aspects := ['room', 'service'])
CREATE OR REPLACE MACRO ai.sentiment(text, aspects := NULL,
    model := NULL, temperature := 0, max_tokens := NULL, seed := NULL,
    truncate := false, on_error := NULL, _stage := NULL) AS
    system.main.__ai_sentiment(CAST(text AS VARCHAR),
        CAST(to_json({aspects: aspects, model: coalesce(model, getvariable('ai_model')),
            temperature: temperature, max_tokens: max_tokens, seed: seed, truncate: truncate,
            on_error: on_error}) AS VARCHAR),
        current_query_id(), current_connection_id(), CAST(_stage AS BIGINT));
