-- JSON of a given form, read from a text: a struct of DuckDB types, in which every field may be
-- null and ['DATE'] is a list of dates; a type's name, such as 'STRUCT(a DATE)' or 'INTEGER[]'; or
-- JSON Schema, as text, JSON or a struct with a JSON type, such as {'type': 'object', ...}.
-- `descriptions` says what fields mean: {'amount': 'in euros'}. Cast the answer to have columns:
-- CAST(ai.extract(body, 'STRUCT(name VARCHAR, due DATE)') AS STRUCT(name VARCHAR, due DATE)).
-- VARCHAR(n) bounds a text; an answer that is cut off at max_tokens is an error. NULL gives NULL.
-- returns: JSON
-- example: SELECT ai.extract('Acme wants 12.50 euros by May 3rd, 2026', {'name': 'VARCHAR(30)', 'amount': 'DECIMAL(10,2)', 'due': 'DATE'}, descriptions := {'amount': 'in euros'})
CREATE OR REPLACE MACRO ai.extract(text, schema, instruction := NULL, descriptions := NULL,
    top_p := NULL,
    model := NULL, temperature := 0, max_tokens := NULL, seed := NULL,
    truncate := false, on_error := NULL, _stage := NULL) AS
    CAST(system.main.__ai_extract(CAST(text AS VARCHAR),
        CAST(to_json({schema: schema, instruction: instruction, descriptions: descriptions,
            top_p: top_p, model: coalesce(model, getvariable('ai_model')), temperature: temperature,
            max_tokens: max_tokens, seed: seed, truncate: truncate, on_error: on_error}) AS VARCHAR),
        current_query_id(), current_connection_id(), CAST(_stage AS BIGINT)) AS JSON);
