-- Sends what the calls of a statement collected under a number, each distinct input once, in one
-- batch; TRUE when they are answered. `inputs` only makes it wait for the collecting calls. A call
-- collects with `_stage := -number`, and one with `_stage := <this result>` runs after it. With
-- -number the answers come with the rows, in growing batches. Used by the rewriter.
-- returns: BOOLEAN
-- example: SELECT ai._answer(1, count(*)) FROM range(3)
CREATE OR REPLACE MACRO ai._answer(number, inputs) AS
    system.main.__ai_answer(number, inputs, current_query_id(), current_connection_id());
