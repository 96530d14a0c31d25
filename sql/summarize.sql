-- A summary of each text, of at most `max_words` words if the model keeps to it (they are asked for,
-- not enforced), in a style: 'bullets', 'one sentence', 'for a lawyer'. A text that is longer than
-- the model's window is summarised part by part, and the summaries again: nothing is cut off.
-- NULL gives NULL.
-- returns: VARCHAR
-- example: SELECT ai.summarize('The train was late. I missed my flight and paid for a hotel.', max_words := 10)
CREATE OR REPLACE MACRO ai.summarize(text, max_words := NULL, style := NULL, top_p := NULL,
    model := NULL, temperature := 0, max_tokens := NULL, seed := NULL,
    on_error := NULL, _stage := NULL) AS
    system.main.__ai_summarize(CAST(text AS VARCHAR), CAST(to_json({max_words: max_words, style: style, top_p: top_p, model: coalesce(model, getvariable('ai_model')), temperature: temperature,
        max_tokens: max_tokens, seed: seed, on_error: on_error}) AS VARCHAR),
        current_query_id(), current_connection_id(), CAST(_stage AS BIGINT));
