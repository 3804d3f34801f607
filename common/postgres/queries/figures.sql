-- What operators ask.

-- name: figures
-- How much there is. A table too large to be counted on every look is estimated by its statistics.
SELECT
    (SELECT count(*) FROM users) AS users,
    (SELECT count(*) FROM conversations) AS conversations,
    (SELECT count(*) FROM conversations WHERE deleted_at IS NOT NULL) AS deleted_conversations,
    (
        SELECT CASE
            WHEN reltuples > 5000000 THEN reltuples::bigint
            ELSE (SELECT count(*) FROM messages)
        END
        FROM pg_class
        WHERE oid = 'messages'::regclass
    ) AS messages,
    (SELECT count(*) FROM tombstones) AS tombstones,
    (SELECT count(*) FROM query_logs) AS query_logs,
    pg_database_size(current_database()) AS database_bytes

-- name: committed_positions
-- How far the log is in PostgreSQL, for each partition.
SELECT partition, position_ms, position_seq, updated_at
FROM committed_positions
ORDER BY partition

-- name: renumbered
-- The conversations in which a message stands at another number than its event says. Few: each is one that
-- Redis gave a number to again.
SELECT DISTINCT user_id, conversation_id::text AS id
FROM renumbered
