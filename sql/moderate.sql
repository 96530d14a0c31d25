-- Whether a text does harm (hate, harassment, violence, self_harm, sexual, illicit), the likeliest
-- kind where it is flagged, and the probability of any, which is flagged from `threshold` on: what
-- suits minilm unless you measure your own. NULL gives NULL.
-- returns: STRUCT(flagged BOOLEAN, category VARCHAR, score DOUBLE)
-- example: SELECT ai.moderate('Thank you for the quick help!')
CREATE OR REPLACE MACRO ai.moderate(text, threshold := NULL,
    model := NULL, temperature := 0, max_tokens := NULL, seed := NULL,
    truncate := false, on_error := NULL, _stage := NULL) AS
    system.main.__ai_moderate(CAST(text AS VARCHAR),
        CAST(to_json({threshold: threshold, model: coalesce(model, getvariable('ai_model')),
            temperature: temperature, max_tokens: max_tokens, seed: seed, truncate: truncate,
            on_error: on_error}) AS VARCHAR),
        current_query_id(), current_connection_id(), CAST(_stage AS BIGINT));
