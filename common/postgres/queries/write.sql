-- How a batch is written: these statements, in this order, in one READ COMMITTED transaction.
--
-- lock_conversations is what makes any order and any repetition safe. From it on, no other batch changes
-- these conversations' rows, and every later statement has a snapshot of its own, taken after the lock
-- was granted: it sees all that the batch before us committed, gravestones and tombstones included.
--
-- Rows are locked in one order everywhere: users, conversations, partitions, each ascending. The arrays
-- come sorted.

-- name: add_users
INSERT INTO users (user_id)
SELECT unnest($1::text[])
ON CONFLICT DO NOTHING

-- name: add_conversations
-- A row for every conversation that has none: something to lock, and to hang messages on, whichever of
-- its events comes first.
INSERT INTO conversations (user_id, id, metadata, created_at, created_at_text, last_modified_ms,
    next_sequence_number, version, state_version, epoch)
SELECT n.user_id, n.id, '{}', n.created_at, n.created_at_text, 0, 0, 0, 0, 0
FROM unnest($1::text[], $2::uuid[], $3::timestamptz[], $4::text[])
    AS n (user_id, id, created_at, created_at_text)
ON CONFLICT DO NOTHING

-- name: lock_conversations
SELECT c.user_id, c.id::text, c.deleted_at IS NOT NULL AS gone, c.next_sequence_number
FROM conversations AS c
JOIN unnest($1::text[], $2::uuid[]) AS n (user_id, id) USING (user_id, id)
ORDER BY c.user_id COLLATE "C", c.id
FOR NO KEY UPDATE OF c

-- name: add_tombstones
INSERT INTO tombstones (user_id, conversation_id, version, from_sequence, to_sequence, message_id)
SELECT *
FROM unnest($1::text[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[])
ON CONFLICT DO NOTHING

-- name: add_messages
-- What is there already stays as it is; find_places tells whether it is the same, and where.
INSERT INTO messages (user_id, conversation_id, sequence_number, id, role, created_at, tokens_used,
    latency_ms, model, payload, version, edited, search)
SELECT n.user_id, n.conversation_id, n.sequence_number, n.id, n.role, n.created_at, n.tokens_used,
    n.latency_ms, n.model, n.payload, n.version, n.edited, n.search::tsvector
FROM unnest($1::text[], $2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::timestamptz[], $7::bigint[],
        $8::double precision[], $9::text[], $10::json[], $11::bigint[], $12::boolean[], $13::text[])
    AS n (user_id, conversation_id, sequence_number, id, role, created_at, tokens_used, latency_ms, model,
        payload, version, edited, search)
WHERE NOT EXISTS (
    SELECT FROM tombstones AS t
    WHERE t.user_id = n.user_id AND t.conversation_id = n.conversation_id
        AND n.sequence_number BETWEEN t.from_sequence AND t.to_sequence
) AND NOT EXISTS (
    SELECT FROM removed_messages AS g
    WHERE g.user_id = n.user_id AND g.conversation_id = n.conversation_id AND g.id = n.id
)
ON CONFLICT DO NOTHING
RETURNING user_id, conversation_id::text, sequence_number

-- name: find_places
-- Of messages that may not stand where their events say: the number at which each stands (or stood), whether
-- the one that is there has another body, whether another message has or had the number, and whether the
-- message is deleted. A message that was edited since is the same by its id.
SELECT COALESCE(r.sequence_number, m.sequence_number) AS place,
    m.id IS NOT NULL AND NOT (m.edited OR n.edited OR m.payload::text = n.payload::text) AS differs,
    EXISTS (
        SELECT FROM messages AS o
        WHERE o.user_id = n.user_id AND o.conversation_id = n.conversation_id
            AND o.sequence_number = n.sequence_number AND o.id <> n.id
    ) OR EXISTS (
        SELECT FROM tombstones AS t
        WHERE t.user_id = n.user_id AND t.conversation_id = n.conversation_id
            AND n.sequence_number BETWEEN t.from_sequence AND t.to_sequence AND t.message_id <> n.id
    ) AS taken,
    EXISTS (
        SELECT FROM tombstones AS t
        WHERE t.user_id = n.user_id AND t.conversation_id = n.conversation_id
            AND n.sequence_number BETWEEN t.from_sequence AND t.to_sequence
            AND COALESCE(t.message_id, n.id) = n.id
    ) OR EXISTS (
        SELECT FROM removed_messages AS g
        WHERE g.user_id = n.user_id AND g.conversation_id = n.conversation_id AND g.id = n.id
    ) AS removed
FROM unnest($1::text[], $2::uuid[], $3::text[], $4::bigint[], $5::json[], $6::boolean[]) WITH ORDINALITY
    AS n (user_id, conversation_id, id, sequence_number, payload, edited, nth)
LEFT JOIN renumbered AS r USING (user_id, conversation_id, id)
LEFT JOIN messages AS m USING (user_id, conversation_id, id)
ORDER BY n.nth

-- name: add_renumbered
-- For ever: the event says another number, and may come again.
INSERT INTO renumbered (user_id, conversation_id, id, sequence_number)
SELECT *
FROM unnest($1::text[], $2::uuid[], $3::text[], $4::bigint[])

-- name: edit_messages
UPDATE messages AS m
SET role = n.role, created_at = n.created_at, tokens_used = n.tokens_used, latency_ms = n.latency_ms,
    model = n.model, payload = n.payload, version = n.version, edited = true, search = n.search::tsvector
FROM unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::bigint[],
        $7::double precision[], $8::text[], $9::json[], $10::bigint[], $11::text[])
    AS n (user_id, conversation_id, id, role, created_at, tokens_used, latency_ms, model, payload, version,
        search)
WHERE m.user_id = n.user_id AND m.conversation_id = n.conversation_id
    AND m.id = n.id AND m.version < n.version

-- name: remove_messages
-- $5: their ids are remembered. Replies how many each conversation lost.
WITH gone AS (
    DELETE FROM messages AS m
    USING unnest($1::text[], $2::uuid[], $3::bigint[], $4::bigint[], $5::boolean[])
        AS r (user_id, conversation_id, from_sequence, to_sequence, remember)
    WHERE m.user_id = r.user_id AND m.conversation_id = r.conversation_id
        AND m.sequence_number BETWEEN r.from_sequence AND r.to_sequence
    RETURNING m.user_id, m.conversation_id, m.id, m.sequence_number, r.remember
), remembered AS (
    INSERT INTO removed_messages (user_id, conversation_id, id, sequence_number)
    SELECT user_id, conversation_id, id, sequence_number
    FROM gone
    WHERE remember
    ON CONFLICT DO NOTHING
)
SELECT user_id, conversation_id::text, count(*) AS removed
FROM gone
GROUP BY user_id, conversation_id

-- name: add_removed
-- Messages that are gone before they came.
INSERT INTO removed_messages (user_id, conversation_id, id, sequence_number)
SELECT *
FROM unnest($1::text[], $2::uuid[], $3::text[], $4::bigint[])
ON CONFLICT DO NOTHING

-- name: remove_tombstones
-- Of deleted conversations: the gravestone says it all.
DELETE FROM tombstones AS t
USING unnest($1::text[], $2::uuid[]) AS n (user_id, conversation_id)
WHERE t.user_id = n.user_id AND t.conversation_id = n.conversation_id

-- name: remove_renumbered
-- The same.
DELETE FROM renumbered AS r
USING unnest($1::text[], $2::uuid[]) AS n (user_id, conversation_id)
WHERE r.user_id = n.user_id AND r.conversation_id = n.conversation_id

-- name: remove_removed
-- The same.
DELETE FROM removed_messages AS g
USING unnest($1::text[], $2::uuid[]) AS n (user_id, conversation_id)
WHERE g.user_id = n.user_id AND g.conversation_id = n.conversation_id

-- name: newest_messages
-- The newest $4 messages of each conversation below a number.
SELECT n.user_id, n.conversation_id::text, m.sequence_number, m.payload
FROM unnest($1::text[], $2::uuid[], $3::bigint[]) AS n (user_id, conversation_id, below)
CROSS JOIN LATERAL (
    SELECT sequence_number, payload
    FROM messages
    WHERE user_id = n.user_id AND conversation_id = n.conversation_id AND sequence_number < n.below
    ORDER BY sequence_number DESC
    LIMIT $4
) AS m

-- name: update_conversations
-- Last writer wins by version, for the state; maxima and sums for the rest. A conversation that is gone
-- stays emptied. preview_known: the preview is this one, whatever stood there.
UPDATE conversations AS c
SET title = CASE WHEN n.gone THEN NULL WHEN n.state_version > c.state_version THEN n.title
        ELSE c.title END,
    model = CASE WHEN n.gone THEN NULL WHEN n.state_version > c.state_version THEN n.model
        ELSE c.model END,
    metadata = CASE WHEN n.gone THEN '{}' WHEN n.state_version > c.state_version THEN n.metadata
        ELSE c.metadata END,
    -- Until its creation is known, a conversation is as old as the oldest event that is.
    created_at = CASE WHEN n.state_version > c.state_version THEN n.created_at
        WHEN c.state_version = 0 THEN LEAST(c.created_at, n.created_at)
        ELSE c.created_at END,
    created_at_text = CASE WHEN n.state_version > c.state_version THEN n.created_at_text
        WHEN c.state_version = 0 THEN LEAST(c.created_at_text COLLATE "C", n.created_at_text COLLATE "C")
        ELSE c.created_at_text END,
    state_version = GREATEST(c.state_version, n.state_version),
    last_modified_ms = GREATEST(c.last_modified_ms, n.last_modified_ms),
    message_count = CASE WHEN n.gone THEN 0 ELSE c.message_count + n.added - n.removed END,
    preview = CASE WHEN n.gone THEN NULL
        WHEN n.preview_known OR n.preview_sequence > COALESCE(c.preview_sequence, -1) THEN n.preview
        ELSE c.preview END,
    preview_sequence = CASE WHEN n.gone THEN NULL
        WHEN n.preview_known OR n.preview_sequence > COALESCE(c.preview_sequence, -1)
            THEN n.preview_sequence
        ELSE c.preview_sequence END,
    next_sequence_number = GREATEST(c.next_sequence_number, n.next_sequence_number),
    version = GREATEST(c.version, n.version),
    epoch = GREATEST(c.epoch, n.epoch),
    deleted_at = LEAST(c.deleted_at, n.deleted_at)
FROM unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::json[], $6::timestamptz[], $7::text[],
        $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::timestamptz[],
        $14::boolean[], $15::bigint[], $16::bigint[], $17::boolean[], $18::text[], $19::bigint[])
    AS n (user_id, id, title, model, metadata, created_at, created_at_text, state_version,
        last_modified_ms, next_sequence_number, version, epoch, deleted_at,
        gone, added, removed, preview_known, preview, preview_sequence)
WHERE c.user_id = n.user_id AND c.id = n.id

-- name: add_query_logs
INSERT INTO query_logs (user_id, log_id, conversation_id, at, tokens_used, latency_ms, payload)
SELECT *
FROM unnest($1::text[], $2::text[], $3::uuid[], $4::timestamptz[], $5::bigint[],
    $6::double precision[], $7::json[])
ON CONFLICT DO NOTHING

-- name: advance_positions
INSERT INTO committed_positions AS c (partition, position_ms, position_seq)
SELECT *
FROM unnest($1::integer[], $2::bigint[], $3::bigint[])
ON CONFLICT (partition) DO UPDATE
SET position_ms = excluded.position_ms, position_seq = excluded.position_seq, updated_at = now()
WHERE (excluded.position_ms, excluded.position_seq) > (c.position_ms, c.position_seq)

-- name: reserve_numbers
-- What an event that is parked was given is never given again, though the record has nothing else of it.
UPDATE conversations
SET next_sequence_number = GREATEST(next_sequence_number, $3), version = GREATEST(version, $4)
WHERE user_id = $1 AND id = $2
RETURNING true
