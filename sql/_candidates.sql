-- The pairs of two lists of texts that `ai.match` with a strategy asks about. Used by the rewriter.
-- returns: STRUCT(a VARCHAR, b VARCHAR)[]
-- example: SELECT ai._candidates(['tea'], ['green tea', 'a car'], 'mean the same drink', 'blocking', 0.95, ai._filter_options('is it so?'))
CREATE OR REPLACE MACRO ai._candidates(lefts, rights, relation, strategy, recall, options) AS
    system.main.__ai_candidates(
        {lefts: lefts, rights: rights, pair: ai._pair(chr(1), chr(2))},
        CAST(to_json({relation: relation, strategy: strategy, recall: recall, options: options}) AS VARCHAR),
        current_query_id(), current_connection_id());
