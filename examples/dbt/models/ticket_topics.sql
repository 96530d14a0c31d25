-- A topic for each ticket. Later runs read the new tickets alone; with --full-refresh all are read
-- again, and the answers come from the cache.
{{ config(materialized='incremental', unique_key='id') }}

select id, created_at, ai.classify(body, {{ var('topics') }}, truncate := true) as topic
from {{ ref('stg_tickets') }}
{% if is_incremental() %}
where id not in (select id from {{ this }})
{% endif %}
