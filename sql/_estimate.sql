-- What the calls collected under a number would cost, as a JSON list; nothing is asked. `inputs`
-- only makes it wait for the collecting calls. Used by explain.
-- returns: VARCHAR
-- example: SELECT ai._estimate(1, count(*)) FROM range(3)
CREATE OR REPLACE MACRO ai._estimate(number, inputs) AS
    system.main.__ai_estimate(number, inputs, current_query_id(), current_connection_id());
