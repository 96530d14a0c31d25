-- Every label with its probability, the highest first; they sum to 1. NULL gives NULL.
-- returns: STRUCT(label VARCHAR, score DOUBLE)[]
-- example: SELECT ai.classify_scores('The invoice is wrong', ['billing', 'bug'])
CREATE OR REPLACE MACRO ai.classify_scores(text, labels, instruction := NULL, examples := NULL,
    none_of_these := NULL,
    model := NULL, temperature := 0, max_tokens := NULL, seed := NULL,
    truncate := false, on_error := NULL, _stage := NULL) AS
    system.main.__ai_classify_scores(CAST(text AS VARCHAR),
        CAST(to_json({labels: labels, instruction: instruction, examples: examples,
            none_of_these: none_of_these, model: coalesce(model, getvariable('ai_model')),
            temperature: temperature, max_tokens: max_tokens, seed: seed, truncate: truncate,
            on_error: on_error}) AS VARCHAR),
        current_query_id(), current_connection_id(), CAST(_stage AS BIGINT));
