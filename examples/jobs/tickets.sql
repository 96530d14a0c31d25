-- Tickets that came in since the last run get a topic; a mood follows the text when it changes.
-- One transaction: after a failure the tables are as before, and the next run goes on.

CREATE TABLE IF NOT EXISTS topics (id BIGINT PRIMARY KEY, topic VARCHAR);
CREATE TABLE IF NOT EXISTS moods (id BIGINT PRIMARY KEY, text_hash VARCHAR, mood VARCHAR);

CREATE TEMP VIEW tickets AS
    FROM read_csv(getvariable('tickets')) WHERE created_at < CAST(getvariable('until') AS DATE);

-- Rows that never change: only those that are not in the target are read.
INSERT INTO topics
SELECT id, ai.classify(body, ['billing', 'bug', 'delivery', 'praise'], truncate := true)
FROM tickets WHERE id NOT IN (SELECT id FROM topics);

-- Rows that may change: all are read, and those whose text is as before come from the cache.
MERGE INTO moods USING (
    SELECT id, md5(body) AS text_hash, ai.classify(body, ['calm', 'angry'], truncate := true) AS mood
    FROM tickets WHERE body IS NOT NULL
) AS new ON moods.id = new.id
WHEN MATCHED AND moods.text_hash <> new.text_hash
    THEN UPDATE SET text_hash = new.text_hash, mood = new.mood
WHEN NOT MATCHED THEN INSERT VALUES (new.id, new.text_hash, new.mood);

SELECT topic, count(*) AS tickets, count(*) FILTER (mood = 'angry') AS angry
FROM topics LEFT JOIN moods USING (id) GROUP BY topic ORDER BY tickets DESC, topic;
