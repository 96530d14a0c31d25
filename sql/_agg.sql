-- `ai.agg` over a list of texts: sorted, or as they are with `in_order`. Used by ai.agg and by the
-- rewriter, for DISTINCT, ORDER BY, FILTER and OVER.
-- returns: VARCHAR
-- example: SELECT ai._agg(['tea', 'green tea'], 'what do they have in common?')
CREATE OR REPLACE MACRO ai._agg(texts, instruction, top_p := NULL, in_order := false,
    model := NULL, temperature := 0, max_tokens := NULL, seed := NULL, on_error := NULL,
    _stage := NULL) AS
    system.main.__ai_agg(CAST(texts AS VARCHAR[]), CAST(to_json({instruction: instruction, in_order: in_order, top_p: top_p, model: coalesce(model, getvariable('ai_model')), temperature: temperature,
        max_tokens: max_tokens, seed: seed, on_error: on_error}) AS VARCHAR),
        current_query_id(), current_connection_id(), CAST(_stage AS BIGINT));
