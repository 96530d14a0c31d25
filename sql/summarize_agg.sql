-- A summary of all texts of a group: an aggregate, as `ai.agg`; `max_words` and `style` as for
-- `ai.summarize`. NULLs are left out; a group without texts gives NULL.
-- returns: VARCHAR
-- example: SELECT ai.summarize_agg(x) FROM (VALUES ('The parcel came two weeks late'), ('The box was broken when it came'), ('Delivery took a month')) t(x)
CREATE OR REPLACE MACRO ai.summarize_agg(text, max_words := NULL, style := NULL, top_p := NULL,
    model := NULL, temperature := 0, max_tokens := NULL, seed := NULL, on_error := NULL) AS
    ai._summarize_agg(list(text), max_words := max_words, style := style, top_p := top_p,
        model := model, temperature := temperature, max_tokens := max_tokens, seed := seed,
        on_error := on_error);
