-- Whether a predicate holds for a text. NULL gives NULL.
-- returns: BOOLEAN
-- example: SELECT ai.filter('I want my money back', 'the customer asks for a refund')
CREATE OR REPLACE MACRO ai.filter(text, question,
    model := NULL, temperature := 0, max_tokens := NULL, seed := NULL,
    truncate := false, on_error := NULL, _stage := NULL) AS
    system.main.__ai_filter(CAST(text AS VARCHAR),
        ai._filter_options(question, model := model, temperature := temperature,
            max_tokens := max_tokens, seed := seed, truncate := truncate, on_error := on_error),
        current_query_id(), current_connection_id(), CAST(_stage AS BIGINT));
