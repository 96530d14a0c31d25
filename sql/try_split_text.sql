-- As ai.split_text, but what fails is told in `error` and stops no query.
-- returns: STRUCT(value STRUCT(chunk VARCHAR, start BIGINT, "end" BIGINT, tokens BIGINT)[], error VARCHAR)
-- example: SELECT ai.try_split_text('One sentence. Another one.', max_tokens := 4)
CREATE OR REPLACE MACRO ai.try_split_text(text, max_tokens := NULL, overlap := 0, markdown := false,
    model := NULL) AS
    system.main.__ai_try_split_text(CAST(text AS VARCHAR),
        CAST(to_json({max_tokens: max_tokens, overlap: overlap, markdown: markdown,
            model: coalesce(model, getvariable('ai_embed_model'))}) AS VARCHAR),
        current_query_id(), current_connection_id(), NULL);
