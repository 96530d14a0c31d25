-- One row per query, function and model: rows in, distinct inputs, answered from the cache, sent to
-- the model and in how many batches, tokens, seconds, errors, what it cost by your own prices. Of all
-- processes, oldest first; `this_session` is what this process did on this database, `run` the job.
-- returns: TABLE
-- example: FROM ai.usage WHERE this_session
CREATE OR REPLACE VIEW ai.usage AS
    SELECT unnest(system.main.__ai_usage(), max_depth := 2);
