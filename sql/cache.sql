-- The questions that have answers in the cache: of which model, how many, how large, made and used
-- when. `place` is `file` (shared by processes) or `memory` (of this one).
-- returns: TABLE
-- example: FROM ai.cache
CREATE OR REPLACE VIEW ai.cache AS
    SELECT unnest(system.main.__ai_cache(), max_depth := 2);
