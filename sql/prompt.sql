-- A text from a template and values: '{0}' is the first value, '{1}' the second, up to eight; or
-- '{name}', with the values as a struct. '{{0}}' is the text '{0}', any other brace is text, and so
-- are all braces in values. What comes before the first value is read once per batch by the model.
-- NULL when a value that is used is NULL.
-- signature: ai.prompt(template, a, b, ...)
-- returns: VARCHAR
-- example: SELECT ai.prompt('Is {0} a kind of {1}?', 'a plum', 'fruit')
CREATE OR REPLACE MACRO ai.prompt(template, a) AS
        system.main.__ai_prompt(CAST(template AS VARCHAR),
            [CASE WHEN typeof(a) NOT LIKE 'STRUCT(%' THEN CAST(a AS VARCHAR) END],
            CASE WHEN typeof(a) LIKE 'STRUCT(%'
                THEN CAST(to_json(TRY_CAST(a AS MAP(VARCHAR, VARCHAR))) AS VARCHAR) END),
    (template, a, b) AS system.main.__ai_prompt(CAST(template AS VARCHAR),
        [CAST(a AS VARCHAR), CAST(b AS VARCHAR)], NULL),
    (template, a, b, c) AS system.main.__ai_prompt(CAST(template AS VARCHAR),
        [CAST(a AS VARCHAR), CAST(b AS VARCHAR), CAST(c AS VARCHAR)], NULL),
    (template, a, b, c, d) AS system.main.__ai_prompt(CAST(template AS VARCHAR),
        [CAST(a AS VARCHAR), CAST(b AS VARCHAR), CAST(c AS VARCHAR), CAST(d AS VARCHAR)], NULL),
    (template, a, b, c, d, e) AS system.main.__ai_prompt(CAST(template AS VARCHAR),
        [CAST(a AS VARCHAR), CAST(b AS VARCHAR), CAST(c AS VARCHAR), CAST(d AS VARCHAR),
         CAST(e AS VARCHAR)], NULL),
    (template, a, b, c, d, e, f) AS system.main.__ai_prompt(CAST(template AS VARCHAR),
        [CAST(a AS VARCHAR), CAST(b AS VARCHAR), CAST(c AS VARCHAR), CAST(d AS VARCHAR),
         CAST(e AS VARCHAR), CAST(f AS VARCHAR)], NULL),
    (template, a, b, c, d, e, f, g) AS system.main.__ai_prompt(CAST(template AS VARCHAR),
        [CAST(a AS VARCHAR), CAST(b AS VARCHAR), CAST(c AS VARCHAR), CAST(d AS VARCHAR),
         CAST(e AS VARCHAR), CAST(f AS VARCHAR), CAST(g AS VARCHAR)], NULL),
    (template, a, b, c, d, e, f, g, h) AS system.main.__ai_prompt(CAST(template AS VARCHAR),
        [CAST(a AS VARCHAR), CAST(b AS VARCHAR), CAST(c AS VARCHAR), CAST(d AS VARCHAR),
         CAST(e AS VARCHAR), CAST(f AS VARCHAR), CAST(g AS VARCHAR), CAST(h AS VARCHAR)], NULL);
