-- The k rows of a table, view or CTE that are nearest to a query in meaning: all its columns and
-- `score`, the cosine of the two vectors, highest first; ties by the first column. `embedding` names
-- a column of vectors, FLOAT[] or FLOAT[n], made by the same model as the query's; without it the
-- column `text` is embedded, each text once as long as the cache holds it. Rows without a vector are
-- left out; a column named `score` gives way. A NULL query finds nothing. Every row is compared: an
-- index of the extension vss wants `ORDER BY array_cosine_distance(v, getvariable('q')::FLOAT[n])
-- LIMIT k` after `SET VARIABLE q = ai.embed('...')`.
-- returns: TABLE
-- example: WITH docs AS (SELECT unnest(['tea', 'a car', 'coffee']) AS text) FROM ai.search('docs', 'hot drinks', k := 2)
CREATE OR REPLACE MACRO ai.search(table_name, query, k := 10, text := 'text', embedding := NULL,
    model := NULL, truncate := false, on_error := NULL, _stage := NULL) AS TABLE
    WITH __ai_query AS MATERIALIZED (
        SELECT ai.embed(query, model := model, truncate := truncate, on_error := on_error)
            AS __ai_vector),
    __ai_rows AS (
        SELECT *, COLUMNS(lambda name: lower(name) = lower(coalesce(embedding, text))) AS __ai_value
        FROM query_table(table_name)),
    __ai_scored AS (
        SELECT COLUMNS(lambda name: lower(name) NOT IN ('score', '__ai_value')),
            list_cosine_similarity(
                CASE WHEN embedding IS NULL
                    THEN ai.embed(CAST(__ai_value AS VARCHAR), model := model, truncate := truncate,
                        on_error := on_error, _stage := _stage)
                    WHEN typeof(__ai_value) LIKE '%]' THEN TRY_CAST(__ai_value AS FLOAT[])
                    ELSE error('ai.search: the column ' || embedding || ' holds '
                        || typeof(__ai_value) || ', not vectors')
                END, (SELECT __ai_vector FROM __ai_query)) AS score
        FROM __ai_rows
        WHERE __ai_value IS NOT NULL),
    __ai_nearest AS (
        FROM __ai_scored
        ORDER BY -score NULLS LAST, COLUMNS(lambda _, position: position = 1)
        LIMIT k)
    FROM __ai_nearest WHERE NOT isnan(score);
