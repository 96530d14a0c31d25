-- JSON that is valid against a JSON Schema (text, JSON or a struct of that form), read from a text.
-- An answer cut off at max_tokens is an error. NULL gives NULL.
-- returns: JSON
-- example: SELECT ai.extract('I paid 12 euros', '{"type": "object", "properties": {"paid": {"type": "integer", "minimum": 0, "maximum": 999}}, "required": ["paid"], "additionalProperties": false}')
CREATE OR REPLACE MACRO ai.extract(text, schema, instruction := NULL, top_p := NULL,
    model := NULL, temperature := 0, max_tokens := NULL, seed := NULL,
    truncate := false, on_error := NULL, _stage := NULL) AS
    CAST(system.main.__ai_extract(CAST(text AS VARCHAR), CAST(to_json({schema: schema, instruction: instruction, top_p: top_p, model: coalesce(model, getvariable('ai_model')), temperature: temperature,
        max_tokens: max_tokens, seed: seed, truncate: truncate, on_error: on_error}) AS VARCHAR),
        current_query_id(), current_connection_id(), CAST(_stage AS BIGINT)) AS JSON);
