-- What readers ask. Every statement begins with the user: $1 is always whose it is.

-- name: load_conversation
-- Header, of a deleted conversation too, and the newest messages: one answer, one moment.
-- $2 conversation  $3 how many messages
SELECT c.id::text, c.title, c.model, c.metadata, c.created_at_text, c.last_modified_ms, c.message_count,
    c.preview, c.next_sequence_number, c.version, c.epoch, c.deleted_at IS NOT NULL AS deleted,
    m.numbers, m.payloads
FROM conversations AS c
CROSS JOIN LATERAL (
    SELECT array_agg(newest.sequence_number) AS numbers, array_agg(newest.payload) AS payloads
    FROM (
        SELECT sequence_number, payload
        FROM messages
        WHERE user_id = $1 AND conversation_id = $2
        ORDER BY sequence_number DESC
        LIMIT $3
    ) AS newest
) AS m
WHERE c.user_id = $1 AND c.id = $2

-- name: window_first
-- The first messages between two numbers, both exclusive.
-- $2 conversation  $3 after  $4 before  $5 how many  $6 numbers to leave out
SELECT sequence_number, payload
FROM messages
WHERE user_id = $1 AND conversation_id = $2
    AND sequence_number > $3 AND sequence_number < $4
    AND sequence_number <> ALL ($6::bigint[])
ORDER BY sequence_number
LIMIT $5

-- name: window_last
-- The last messages between two numbers; arguments as in window_first.
SELECT sequence_number, payload
FROM messages
WHERE user_id = $1 AND conversation_id = $2
    AND sequence_number > $3 AND sequence_number < $4
    AND sequence_number <> ALL ($6::bigint[])
ORDER BY sequence_number DESC
LIMIT $5

-- name: slice_ascending
-- $2 conversation  $3 offset  $4 how many  $5 numbers to leave out
SELECT sequence_number, payload
FROM messages
WHERE user_id = $1 AND conversation_id = $2 AND sequence_number <> ALL ($5::bigint[])
ORDER BY sequence_number
OFFSET $3 LIMIT $4

-- name: slice_descending
-- Arguments as in slice_ascending.
SELECT sequence_number, payload
FROM messages
WHERE user_id = $1 AND conversation_id = $2 AND sequence_number <> ALL ($5::bigint[])
ORDER BY sequence_number DESC
OFFSET $3 LIMIT $4

-- name: count_messages
-- From the conversation's own count, so that a long history need not be walked.
-- $2 conversation  $3 numbers to leave out
SELECT c.message_count - (
    SELECT count(*)
    FROM messages
    WHERE user_id = $1 AND conversation_id = $2 AND sequence_number = ANY ($3::bigint[])
)
FROM conversations AS c
WHERE c.user_id = $1 AND c.id = $2

-- name: count_after
-- How many messages have higher numbers.
-- $2 conversation  $3 after  $4 numbers to leave out
SELECT count(*)
FROM messages
WHERE user_id = $1 AND conversation_id = $2 AND sequence_number > $3
    AND sequence_number <> ALL ($4::bigint[])

-- name: messages_by_id
-- The deleted ones, too: without a body.
-- $2 conversation  $3 message ids
SELECT id, sequence_number, payload
FROM messages
WHERE user_id = $1 AND conversation_id = $2 AND id = ANY ($3::text[])
UNION ALL
SELECT id, sequence_number, NULL
FROM removed_messages
WHERE user_id = $1 AND conversation_id = $2 AND id = ANY ($3::text[])

-- name: recorded_messages
-- What is known here of messages that pending events tell of, whether they are gone for good, and whether
-- another has the number.
-- $2 conversation  $3 numbers  $4 ids
SELECT n.number, m.payload, COALESCE(m.version, 0) AS version,
    COALESCE(m.sequence_number <> n.number, false) AS elsewhere,
    EXISTS (
        SELECT FROM messages AS o
        WHERE o.user_id = $1 AND o.conversation_id = $2 AND o.sequence_number = n.number AND o.id <> n.id
    ) AS taken,
    EXISTS (
        SELECT FROM tombstones AS t
        WHERE t.user_id = $1 AND t.conversation_id = $2
            AND n.number BETWEEN t.from_sequence AND t.to_sequence AND COALESCE(t.message_id, n.id) = n.id
    ) OR EXISTS (
        SELECT FROM removed_messages AS g
        WHERE g.user_id = $1 AND g.conversation_id = $2 AND g.id = n.id
    ) AS gone
FROM unnest($3::bigint[], $4::text[]) AS n (number, id)
LEFT JOIN messages AS m
    ON m.user_id = $1 AND m.conversation_id = $2 AND m.id = n.id

-- name: messages_by_number
-- $2 conversation  $3 sequence numbers
SELECT sequence_number, payload
FROM messages
WHERE user_id = $1 AND conversation_id = $2 AND sequence_number = ANY ($3::bigint[])

-- name: conversations
-- Last modified first, the deleted ones never. (A bare id in ORDER BY would be the text of the first line.)
-- $2, $3 only what stands after this place (last_modified_ms, id)  $4 modified since  $5 ids to leave out
-- $6 offset  $7 how many
SELECT id::text, title, model, metadata, created_at_text, last_modified_ms, message_count, preview,
    next_sequence_number, version, epoch, false AS deleted
FROM conversations
WHERE user_id = $1 AND deleted_at IS NULL
    AND (last_modified_ms, id) < ($2, $3) AND last_modified_ms >= $4
    AND id <> ALL ($5::uuid[])
ORDER BY last_modified_ms DESC, conversations.id DESC
OFFSET $6 LIMIT $7

-- name: count_conversations
-- $2 modified since  $3 ids to leave out
SELECT count(*)
FROM conversations
WHERE user_id = $1 AND deleted_at IS NULL AND last_modified_ms >= $2 AND id <> ALL ($3::uuid[])
