-- The text with its grammar and spelling corrected, in its own language and words. A correction that
-- is cut off is an error. NULL gives NULL.
-- returns: VARCHAR
-- example: SELECT ai.fix_grammar('Their going too the store tomorow')
CREATE OR REPLACE MACRO ai.fix_grammar(text,
    model := NULL, temperature := 0, max_tokens := NULL, seed := NULL,
    truncate := false, on_error := NULL, _stage := NULL) AS
    ai.complete(text,
        system := 'Correct the grammar and spelling of the text. Keep its meaning, language and style, '
            || 'and what is right as it is. Reply with the corrected text alone.', _whole := true,
        model := model, temperature := temperature, max_tokens := max_tokens, seed := seed,
        truncate := truncate, on_error := on_error, _stage := _stage);
