-- Reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009): one score from the ranks, 1 for the
-- best, that several searches gave a row: the sum of 1 / (k + rank). A NULL rank, not found, adds
-- nothing. NULL where all are NULL.
-- returns: DOUBLE
-- example: SELECT ai.rrf([1, 3])
CREATE OR REPLACE MACRO ai.rrf(ranks, k := 60) AS
    list_sum(list_transform(ranks, lambda rank: 1 / (CAST(k AS DOUBLE) + rank)));
