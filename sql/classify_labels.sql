-- All labels that fit a text, the most probable first, perhaps none: each is judged on its own and
-- must reach the threshold. Labels are written as for ai.classify. NULL gives NULL.
-- returns: VARCHAR[]
-- example: SELECT ai.classify_labels('The invoice is wrong', ['billing', 'weather'], threshold := 0.1)
CREATE OR REPLACE MACRO ai.classify_labels(text, labels, instruction := NULL, examples := NULL,
    threshold := 0.5,
    model := NULL, temperature := 0, max_tokens := NULL, seed := NULL,
    truncate := false, on_error := NULL, _stage := NULL) AS
    system.main.__ai_classify_labels(CAST(text AS VARCHAR),
        CAST(to_json({labels: labels, instruction: instruction, examples: examples,
            threshold: threshold, model: coalesce(model, getvariable('ai_model')),
            temperature: temperature, max_tokens: max_tokens, seed: seed, truncate: truncate,
            on_error: on_error}) AS VARCHAR),
        current_query_id(), current_connection_id(), CAST(_stage AS BIGINT));
