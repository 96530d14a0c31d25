-- One row per ticket that has come in and says something.
select id, created_at, trim(body) as body
from {{ ref('tickets') }}
where body is not null and created_at < date '{{ var("until") }}'
