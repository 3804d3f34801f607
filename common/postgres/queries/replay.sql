-- The record read from one end to the other, page by page: each page is what comes after a key.

-- name: replay_conversations
-- $1, $2 after this user and conversation  $3 one user or null  $4 one conversation or null
-- $5, $6 last modified between, in ms  $7 how many
SELECT user_id, id::text, title, model, metadata, created_at, created_at_text, last_modified_ms,
    next_sequence_number, version, state_version, epoch, deleted_at
FROM conversations
WHERE (user_id, conversations.id) > ($1::text, $2::uuid)
    AND ($3::text IS NULL OR user_id = $3) AND ($4::uuid IS NULL OR conversations.id = $4)
    AND last_modified_ms BETWEEN $5 AND $6
ORDER BY user_id, conversations.id
LIMIT $7

-- name: replay_conversation
-- One of them again, as it is by now.
-- $1 user  $2 conversation
SELECT user_id, id::text, title, model, metadata, created_at, created_at_text, last_modified_ms,
    next_sequence_number, version, state_version, epoch, deleted_at
FROM conversations
WHERE user_id = $1 AND id = $2

-- name: replay_messages
-- $1 user  $2 conversation  $3 after this number  $4 how many
SELECT sequence_number, created_at, payload, version, edited
FROM messages
WHERE user_id = $1 AND conversation_id = $2 AND sequence_number > $3
ORDER BY sequence_number
LIMIT $4

-- name: replay_tombstones
-- $1 user  $2 conversation  $3, $4 after this version and number  $5 how many
SELECT version, from_sequence, to_sequence, message_id
FROM tombstones
WHERE user_id = $1 AND conversation_id = $2 AND (version, from_sequence) > ($3::bigint, $4::bigint)
ORDER BY version, from_sequence
LIMIT $5

-- name: replay_removed
-- Messages that are gone, those apart whose tombstones name them.
-- $1 user  $2 conversation  $3 after this id  $4 how many
SELECT id, sequence_number
FROM removed_messages AS g
WHERE user_id = $1 AND conversation_id = $2 AND id > $3
    AND NOT EXISTS (
        SELECT FROM tombstones AS t
        WHERE t.user_id = $1 AND t.conversation_id = $2 AND t.message_id = g.id
    )
ORDER BY id
LIMIT $4

-- name: replay_query_logs
-- $1, $2 after this user and log id  $3 one user or null  $4 one conversation or null  $5, $6 logged between
-- $7 how many
SELECT user_id, log_id, conversation_id::text, at, payload
FROM query_logs
WHERE (user_id, log_id) > ($1::text, $2::text)
    AND ($3::text IS NULL OR user_id = $3) AND ($4::uuid IS NULL OR conversation_id = $4)
    AND at BETWEEN $5 AND $6
ORDER BY user_id, log_id
LIMIT $7
