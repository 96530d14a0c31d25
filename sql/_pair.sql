-- Two texts as one, as ai.match asks about them. Used by ai.match and by the rewriter.
-- returns: VARCHAR
-- example: SELECT ai._pair('tea', 'green tea')
CREATE OR REPLACE MACRO ai._pair(a, b) AS
    'Text A: ' || CAST(a AS VARCHAR) || chr(10) || 'Text B: ' || CAST(b AS VARCHAR);
