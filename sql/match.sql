-- Whether a relation holds between two texts, such as 'name the same product'; made for JOIN ... ON.
-- NULL when either is NULL.
-- returns: BOOLEAN
-- example: SELECT ai.match('iPhone 15 128GB', 'Apple iPhone 15, 128 GB', 'name the same product')
CREATE OR REPLACE MACRO ai.match(a, b, relation,
    model := NULL, temperature := 0, max_tokens := NULL, seed := NULL,
    truncate := false, on_error := NULL, _stage := NULL) AS
    ai.filter(ai._pair(a, b), ai._relation(relation), model := model, temperature := temperature,
        max_tokens := max_tokens, seed := seed, truncate := truncate, on_error := on_error, _stage := _stage);
