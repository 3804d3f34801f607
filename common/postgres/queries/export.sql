-- What exports ask: next parts, each of a bounded size, so that nobody holds a whole conversation.

-- name: export_part
-- The first messages between two numbers, both exclusive: at least one, and no further than the one with
-- which they are $6 bytes, or $5 in number. Sizes as they are stored are known without unpacking anything;
-- of what these let through, the real ones are added up: what is all the same letter is stored very small.
-- $2 conversation  $3 after  $4 before  $5 how many  $6 bytes  $7 numbers to leave out
SELECT sequence_number, payload
FROM (
    SELECT sequence_number, payload, sum(octet_length(payload::text)) OVER ahead AS bytes_ahead
    FROM (
        SELECT sequence_number, payload, sum(pg_column_size(payload)) OVER ahead AS bytes_ahead
        FROM (
            SELECT sequence_number, payload
            FROM messages
            WHERE user_id = $1 AND conversation_id = $2
                AND sequence_number > $3 AND sequence_number < $4
                AND sequence_number <> ALL ($7::bigint[])
            ORDER BY sequence_number
            LIMIT $5
        ) AS next
        WINDOW ahead AS (ORDER BY sequence_number ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
    ) AS stored
    WHERE COALESCE(bytes_ahead, 0) < $6::bigint
    WINDOW ahead AS (ORDER BY sequence_number ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
) AS unpacked
WHERE COALESCE(bytes_ahead, 0) < $6::bigint
ORDER BY sequence_number

-- name: conversation_ids
-- In the order of their ids, which never changes: whoever goes through them misses none that moves up
-- meanwhile. (A bare id in ORDER BY would be the text of the first line.)
-- $2 from this id on  $3 but without this one, or NULL  $4 how many
SELECT id::text
FROM conversations
WHERE user_id = $1 AND deleted_at IS NULL AND id >= $2 AND id IS DISTINCT FROM $3
ORDER BY conversations.id
LIMIT $4
