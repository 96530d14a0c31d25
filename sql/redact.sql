-- The text without what names or reaches a person: 'mask' writes [EMAIL] in its place, 'pseudonym' a
-- stand-in such as EMAIL_3f9a2c41d07b that is the same wherever it comes back in the query (with
-- `seed`: in every query), 'detect' lists what was found, as JSON text with entity, start, end, text.
-- `entities` are by default those found by rules: url (with a secret in it), email, iban, card,
-- national_id, ip, date_of_birth, phone. A model is asked for person, place and organisation where
-- they are named, or 'all'. `region` ('US', or a list) adds countries' national phone numbers.
-- NULL gives NULL; a text for which the model fails is NULL or an error, never let through.
-- returns: VARCHAR
-- example: SELECT ai.redact('Write to ann@example.org or call +49 30 901820')
CREATE OR REPLACE MACRO ai.redact(text, entities := NULL, mode := 'mask', region := NULL,
    model := NULL, temperature := 0, max_tokens := NULL, seed := NULL,
    on_error := NULL, _stage := NULL) AS
    system.main.__ai_redact(CAST(text AS VARCHAR), CAST(to_json({entities: entities, mode: mode, region: region, model: coalesce(model, getvariable('ai_model')), temperature: temperature,
        max_tokens: max_tokens, seed: seed, on_error: on_error}) AS VARCHAR),
        current_query_id(), current_connection_id(), CAST(_stage AS BIGINT));
