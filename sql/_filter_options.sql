-- The options of ai.filter as the UDFs read them. Used by ai.filter and by the rewriter.
-- returns: VARCHAR
-- example: SELECT ai._filter_options('is it good?')
CREATE OR REPLACE MACRO ai._filter_options(question,
    model := NULL, temperature := 0, max_tokens := NULL, seed := NULL,
    truncate := false, on_error := NULL) AS
    CAST(to_json({question: question, model: coalesce(model, getvariable('ai_model')),
        temperature: temperature, max_tokens: max_tokens, seed: seed, truncate: truncate,
        on_error: on_error}) AS VARCHAR);
