-- Inputs that became NULL under `on_error = 'null'`, their first 60 characters, and why. Of all
-- processes, oldest first.
-- returns: TABLE
-- example: FROM ai.errors
CREATE OR REPLACE VIEW ai.errors AS
    SELECT unnest(system.main.__ai_errors(), max_depth := 2);
