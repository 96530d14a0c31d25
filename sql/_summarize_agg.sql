-- `ai.summarize_agg` over a list of texts, as `ai._agg`. Used by ai.summarize_agg and by the rewriter.
-- returns: VARCHAR
-- example: SELECT ai._summarize_agg(['tea is hot', 'tea is green'])
CREATE OR REPLACE MACRO ai._summarize_agg(texts, max_words := NULL, style := NULL, top_p := NULL,
    in_order := false, model := NULL, temperature := 0, max_tokens := NULL, seed := NULL,
    on_error := NULL, _stage := NULL) AS
    system.main.__ai_summarize_agg(CAST(texts AS VARCHAR[]), CAST(to_json({max_words: max_words, style: style, in_order: in_order, top_p: top_p, model: coalesce(model, getvariable('ai_model')), temperature: temperature,
        max_tokens: max_tokens, seed: seed, on_error: on_error}) AS VARCHAR),
        current_query_id(), current_connection_id(), CAST(_stage AS BIGINT));
