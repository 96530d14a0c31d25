-- The text in another language, named in any way that the model understands: 'French', 'pt-BR'.
-- `source` is the language of the text, where the model should not guess (`from` is a word of
-- SQL's own). A translation that is cut off is an error. NULL gives NULL.
-- returns: VARCHAR
-- example: SELECT ai.translate('Good morning', 'French')
CREATE OR REPLACE MACRO ai.translate(text, language, source := NULL,
    model := NULL, temperature := 0, max_tokens := NULL, seed := NULL,
    truncate := false, on_error := NULL, _stage := NULL) AS
    system.main.__ai_translate(CAST(text AS VARCHAR),
        CAST(to_json({language: language, source: source,
            model: coalesce(model, getvariable('ai_model')), temperature: temperature,
            max_tokens: max_tokens, seed: seed, truncate: truncate, on_error: on_error}) AS VARCHAR),
        current_query_id(), current_connection_id(), CAST(_stage AS BIGINT));
