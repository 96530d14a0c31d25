-- The runs of jobs (`sqlllm run`), also of other processes: what became of each, how far it came,
-- what it asked in all, and with which versions and models (name and fingerprint, as JSON).
-- returns: TABLE
-- example: FROM ai.runs
CREATE OR REPLACE VIEW ai.runs AS
    SELECT unnest(system.main.__ai_runs(), max_depth := 2);
