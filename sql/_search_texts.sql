-- Collects under a number the texts that `ai.search` is going to embed. Used by the rewriter.
-- returns: TABLE
-- example: WITH docs AS (SELECT 'tea' AS text) FROM ai._search_texts(1, 'docs')
CREATE OR REPLACE MACRO ai._search_texts(number, table_name, text := 'text',
    model := NULL, truncate := false, on_error := NULL) AS TABLE
    SELECT count(ai.embed(CAST(COLUMNS(lambda name: lower(name) = lower(text)) AS VARCHAR),
        model := model, truncate := truncate, on_error := on_error, _stage := -number)) AS texts
    FROM query_table(table_name);
