-- One row per query, function and model: rows in, distinct inputs, answered from the cache, sent to
-- the model and in how many batches, tokens, seconds, errors.
-- returns: TABLE
-- example: FROM ai.usage
CREATE OR REPLACE VIEW ai.usage AS
    SELECT unnest(system.main.__ai_usage(), max_depth := 2);
