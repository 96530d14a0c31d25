-- The question that ai.match asks about a pair. Used by ai.match and by the rewriter.
-- returns: VARCHAR
-- example: SELECT ai._relation('name the same product')
CREATE OR REPLACE MACRO ai._relation(relation, strategy := 'exact') AS
    CASE WHEN strategy NOT IN ('exact', 'blocking', 'classify')
        THEN error('strategy must be ''exact'', ''blocking'' or ''classify'', not ''' || strategy || '''')
        WHEN trim(relation) = '' THEN error('the relation is empty: write what must hold of a pair')
        ELSE 'Does this hold for text A and text B: ' || relation || '?'
    END;
