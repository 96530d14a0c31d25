-- How well a text answers a query, 0 to 1: P(yes) by a language model that reads both; to sort what
-- a search found. NULL when either is NULL.
-- returns: DOUBLE
-- example: SELECT ai.rerank('opening hours', 'Our office is open from nine to five.')
CREATE OR REPLACE MACRO ai.rerank(query, text,
    model := NULL, temperature := 0, max_tokens := NULL, seed := NULL,
    truncate := false, on_error := NULL, _stage := NULL) AS
    ai.score(ai.prompt('Query: {0}' || chr(10) || 'Passage: {1}', query, text),
        'Does the passage answer the query?',
        model := model, temperature := temperature, max_tokens := max_tokens, seed := seed,
        truncate := truncate, on_error := on_error, _stage := _stage);
