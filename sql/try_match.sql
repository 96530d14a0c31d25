-- As ai.match of every pair, but what fails is told in `error` and stops no query.
-- returns: STRUCT(value BOOLEAN, error VARCHAR)
-- example: SELECT ai.try_match('iPhone 15 128GB', 'Apple iPhone 15, 128 GB', 'name the same product')
CREATE OR REPLACE MACRO ai.try_match(a, b, relation,
    model := NULL, temperature := 0, max_tokens := NULL, seed := NULL,
    truncate := false, _stage := NULL) AS
    ai.try_filter(ai._pair(a, b), ai._relation(relation), model := model,
        temperature := temperature, max_tokens := max_tokens, seed := seed, truncate := truncate,
        _stage := _stage);
