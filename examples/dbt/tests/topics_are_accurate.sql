-- Fails, and shows what went wrong, if fewer than 6 of 10 topics are those a person gave. A ticket
-- that got none is wrong, too.
with answered as (
    select id, gold.topic as gold, found.topic as found
    from {{ ref('gold_topics') }} as gold
    join {{ ref('ticket_topics') }} as found using (id)
)
from answered
where gold is distinct from found
    and (select avg((gold is not distinct from found)::int) from answered) < 0.6
