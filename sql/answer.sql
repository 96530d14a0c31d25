-- The answer to a question from a context alone; NULL where the context doesn't say, or either is
-- NULL.
-- returns: VARCHAR
-- example: SELECT ai.answer('When is the office open?', 'Our office is open from nine to five.')
CREATE OR REPLACE MACRO ai.answer(question, context,
    model := NULL, temperature := 0, max_tokens := NULL, seed := NULL,
    truncate := false, on_error := NULL, _stage := NULL) AS
    system.main.__ai_reply(ai.prompt('Question: {0}' || chr(10) || 'Context: {1}', question, context),
        CAST(to_json({model: coalesce(model, getvariable('ai_model')),
            temperature: temperature, max_tokens: max_tokens, seed: seed, truncate: truncate,
            on_error: on_error}) AS VARCHAR),
        current_query_id(), current_connection_id(), CAST(_stage AS BIGINT));
