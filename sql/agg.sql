-- One answer about all texts of a group, in any GROUP BY or without one: an aggregate. Texts that
-- don't fit in one prompt are asked about in parts, and the answers combined. Texts are sorted first,
-- so that their physical order doesn't matter; equal ones are sent once, with how often they occur.
-- Planned connections also take DISTINCT, ORDER BY, FILTER and OVER, as for any aggregate; elsewhere
-- DuckDB refuses them. NULLs are left out; a group without texts gives NULL.
-- returns: VARCHAR
-- example: SELECT ai.agg(x, 'What do customers complain about? Answer in one sentence.') FROM (VALUES ('The parcel came two weeks late'), ('The box was broken when it came'), ('Delivery took a month')) t(x)
CREATE OR REPLACE MACRO ai.agg(text, instruction, top_p := NULL,
    model := NULL, temperature := 0, max_tokens := NULL, seed := NULL, on_error := NULL) AS
    ai._agg(list(text), instruction, top_p := top_p, model := model, temperature := temperature,
        max_tokens := max_tokens, seed := seed, on_error := on_error);
