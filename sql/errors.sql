-- Inputs that became NULL under `on_error = 'null'`, and why.
-- returns: TABLE
-- example: FROM ai.errors
CREATE OR REPLACE VIEW ai.errors AS
    SELECT unnest(system.main.__ai_errors(), max_depth := 2);
