-- Whether a relation holds between two texts, such as 'name the same product'; made for JOIN ... ON.
-- In an inner join the rewriter can ask about likely pairs only: `strategy := 'blocking'` (each
-- left text's nearest by embedding, as many as reach `recall` on a sample) or 'classify' (each left
-- text chooses one of the right ones). The model reads a left text once for all its pairs: put the
-- longer text there. NULL when either is NULL.
-- returns: BOOLEAN
-- example: SELECT ai.match('iPhone 15 128GB', 'Apple iPhone 15, 128 GB', 'name the same product')
CREATE OR REPLACE MACRO ai.match(a, b, relation, strategy := 'exact', recall := 0.95,
    model := NULL, temperature := 0, max_tokens := NULL, seed := NULL,
    truncate := false, on_error := NULL, _stage := NULL) AS
    ai.filter(ai._pair(a, b), ai._relation(relation, strategy := strategy), model := model,
        temperature := temperature, max_tokens := max_tokens, seed := seed, truncate := truncate,
        on_error := on_error, _stage := _stage);
