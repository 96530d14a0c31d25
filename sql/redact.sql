-- The text without what names or reaches a person. `mode` is 'mask' ([EMAIL]), 'pseudonym' (such as
-- EMAIL_3f9a2c41d07b, the same wherever it comes back in the query; with `seed` in every query, but
-- whoever knows the seed can try addresses until one fits, so keep it as secret as a key) or 'detect'
-- (what was found, as JSON text: a list of entity, start, end, text, counted in characters from 0;
-- CAST(... AS JSON)).
-- `entities` are by default those found by rules: email, phone, iban, card, ip, national_id,
-- date_of_birth, and url (one with a password, token or signature in it; others stay). A language
-- model is asked, once per text, for person, place and organisation where they are named, or 'all'.
-- `region` ('US', or a list) adds phone numbers as they are written in those countries.
-- NULL gives NULL. A text for which the model fails is an error or NULL, never let through; so there
-- is no `truncate`: what a model doesn't read, it can't redact.
-- returns: VARCHAR
-- example: SELECT ai.redact('Write to ann@example.org or call +49 30 901820')
CREATE OR REPLACE MACRO ai.redact(text, entities := NULL, mode := 'mask', region := NULL,
    model := NULL, temperature := 0, max_tokens := NULL, seed := NULL,
    on_error := NULL, _stage := NULL) AS
    system.main.__ai_redact(CAST(text AS VARCHAR),
        CAST(to_json({entities: entities, mode: mode, region: region,
            model: coalesce(model, getvariable('ai_model')), temperature: temperature,
            max_tokens: max_tokens, seed: seed, on_error: on_error}) AS VARCHAR),
        current_query_id(), current_connection_id(), CAST(_stage AS BIGINT));
