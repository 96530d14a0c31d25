-- The models that SQL can name, and what each can do.
-- returns: TABLE
-- example: FROM ai.models
CREATE OR REPLACE VIEW ai.models AS
    SELECT unnest(system.main.__ai_models(), max_depth := 2);
