-- A text in chunks of at most `max_tokens` tokens of the embedding model, cut where paragraphs, lines,
-- sentences or words end, the largest that fit; with `markdown := true` where sections and blocks do.
-- `text[start + 1:end]` is the chunk: `start` and `end` count characters; nothing but white space is
-- left out between chunks. Neighbours share up to `overlap` tokens. `max_tokens := NULL` is what the
-- model reads, at most 256. Needs the extra `search`. NULL gives NULL, '' an empty list.
-- returns: STRUCT(chunk VARCHAR, start BIGINT, "end" BIGINT, tokens BIGINT)[]
-- example: SELECT unnest(ai.split_text('One sentence. Another one.', max_tokens := 4), recursive := true)
CREATE OR REPLACE MACRO ai.split_text(text, max_tokens := NULL, overlap := 0, markdown := false,
    model := NULL) AS
    system.main.__ai_split_text(CAST(text AS VARCHAR),
        CAST(to_json({max_tokens: max_tokens, overlap: overlap, markdown: markdown,
            model: coalesce(model, getvariable('ai_embed_model'))}) AS VARCHAR),
        current_query_id(), current_connection_id(), NULL);
