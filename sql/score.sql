-- The probability, 0 to 1, that the answer to a question about a text is yes. NULL gives NULL.
-- returns: DOUBLE
-- example: SELECT ai.score('I want my money back', 'Is the customer angry?')
CREATE OR REPLACE MACRO ai.score(text, question,
    model := NULL, temperature := 0, max_tokens := NULL, seed := NULL,
    truncate := false, on_error := NULL, _stage := NULL) AS
    system.main.__ai_score(CAST(text AS VARCHAR), CAST(to_json({question: question, model: coalesce(model, getvariable('ai_model')), temperature: temperature,
        max_tokens: max_tokens, seed: seed, truncate: truncate, on_error: on_error}) AS VARCHAR),
        current_query_id(), current_connection_id(), CAST(_stage AS BIGINT));
