-- Fails, and shows what went wrong, if fewer than 6 of 10 topics are those a person gave.
with answered as (
    select id, gold.topic as gold, found.topic as found
    from {{ ref('gold_topics') }} as gold
    join {{ ref('ticket_topics') }} as found using (id)
)
from answered
where gold <> found and (select avg((gold = found)::int) from answered) < 0.6
