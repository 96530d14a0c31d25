-- Free text that answers a prompt; or text that a regular expression matches as a whole; or JSON
-- of a given form, as in ai.extract, where `schema` is given. NULL gives NULL.
-- returns: VARCHAR
-- example: SELECT ai.complete('What is the capital of France?')
CREATE OR REPLACE MACRO ai.complete(prompt, system := NULL, stop := NULL, pattern := NULL,
    schema := NULL, descriptions := NULL, top_p := NULL,
    model := NULL, temperature := 0, max_tokens := NULL, seed := NULL,
    truncate := false, on_error := NULL, _whole := false, _stage := NULL) AS
    system.main.__ai_complete(CAST(prompt AS VARCHAR),
        CAST(to_json({system: system, stop: stop, pattern: pattern, schema: schema,
            descriptions: descriptions, top_p: top_p, whole: _whole,
            model: coalesce(model, getvariable('ai_model')), temperature: temperature,
            max_tokens: max_tokens, seed: seed, truncate: truncate, on_error: on_error}) AS VARCHAR),
        current_query_id(), current_connection_id(), CAST(_stage AS BIGINT));
