-- The functions of this catalog, with their arguments.
-- returns: TABLE
-- example: FROM ai.functions
CREATE OR REPLACE VIEW ai.functions AS
    SELECT unnest(system.main.__ai_functions(), max_depth := 2);
