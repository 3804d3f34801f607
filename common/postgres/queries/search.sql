-- Full text search over one user's messages, and the making of what earlier versions did not write.

-- name: search_messages
-- What is pending is laid over the record in one statement, so that both are of one moment: all that the
-- record has is newer than, or the same as, what was pending before this was asked.
-- Words carry their user's mark, so that the index has nobody else's to offer; user_id is asked for all the same.
-- $2 what is looked for
-- pending: $3 conversations that are deleted; $4, $5 messages that are gone (conversation, number); $6 to $11
--   messages (conversation, number, id, version, created_at, words)
-- $12 to $15 only what stands behind this place (score, created_at, conversation, number), or NULL
-- $16 how many matches are ranked, the newest  $17 how many are wanted
WITH waiting AS MATERIALIZED (
    SELECT w.conversation_id, w.sequence_number, w.id, w.created_at, w.words::tsvector AS search
    FROM unnest($6::uuid[], $7::bigint[], $8::text[], $9::bigint[], $10::timestamptz[], $11::text[])
        AS w (conversation_id, sequence_number, id, version, created_at, words)
    WHERE NOT EXISTS (
        SELECT FROM messages AS m
        WHERE m.user_id = $1 AND m.conversation_id = w.conversation_id AND m.id = w.id
            -- Elsewhere than its event says: there it stands (ADR 0091).
            AND (m.version >= w.version OR m.sequence_number <> w.sequence_number)
    ) AND NOT EXISTS (
        SELECT FROM tombstones AS t
        WHERE t.user_id = $1 AND t.conversation_id = w.conversation_id
            AND w.sequence_number BETWEEN t.from_sequence AND t.to_sequence
            AND COALESCE(t.message_id, w.id) = w.id
    ) AND NOT EXISTS (
        SELECT FROM removed_messages AS g
        WHERE g.user_id = $1 AND g.conversation_id = w.conversation_id AND g.id = w.id
    ) AND NOT EXISTS (
        SELECT FROM conversations AS c
        WHERE c.user_id = $1 AND c.id = w.conversation_id AND c.deleted_at IS NOT NULL
    )
), matches AS (
    SELECT m.conversation_id, m.sequence_number, m.created_at, m.search, false AS pending
    FROM messages AS m
    WHERE m.user_id = $1 AND m.search @@ $2::text::tsquery
        AND m.conversation_id <> ALL ($3::uuid[])
        AND NOT EXISTS (
            SELECT FROM unnest($4::uuid[], $5::bigint[]) AS h (conversation_id, sequence_number)
            WHERE h.conversation_id = m.conversation_id AND h.sequence_number = m.sequence_number
        )
        AND NOT EXISTS (
            SELECT FROM waiting AS w
            WHERE w.conversation_id = m.conversation_id AND w.id = m.id
        )
    UNION ALL
    SELECT w.conversation_id, w.sequence_number, w.created_at, w.search, true
    FROM waiting AS w
    WHERE w.search @@ $2::text::tsquery
    ORDER BY created_at DESC, conversation_id DESC, sequence_number DESC
    LIMIT $16
), ranked AS (
    -- How near each other the words stand, and how often; 1: less in a longer text.
    SELECT conversation_id, sequence_number, created_at, pending,
        ts_rank_cd(search, $2::text::tsquery, 1)::double precision AS score
    FROM matches
), page AS (
    SELECT *
    FROM ranked
    WHERE $12::double precision IS NULL
        OR (score, created_at, conversation_id, sequence_number) < ($12, $13::timestamptz, $14::uuid, $15::bigint)
    ORDER BY score DESC, created_at DESC, conversation_id DESC, sequence_number DESC
    LIMIT $17
)
SELECT p.conversation_id::text, p.sequence_number, p.created_at, p.score, p.pending, m.payload, c.title
FROM page AS p
LEFT JOIN messages AS m
    ON NOT p.pending AND m.user_id = $1 AND m.conversation_id = p.conversation_id
    AND m.sequence_number = p.sequence_number
LEFT JOIN conversations AS c ON c.user_id = $1 AND c.id = p.conversation_id
ORDER BY p.score DESC, p.created_at DESC, p.conversation_id DESC, p.sequence_number DESC

-- name: lock_unsearched
-- Messages whose words have not been made yet. Those that anybody else has locked are left out: nothing
-- ever waits here, whatever it has locked itself.
-- $1 how many
SELECT user_id, conversation_id::text, sequence_number, payload
FROM messages
WHERE search IS NULL
ORDER BY user_id, conversation_id, sequence_number
LIMIT $1
FOR NO KEY UPDATE SKIP LOCKED

-- name: put_search
UPDATE messages AS m
SET search = n.words::tsvector
FROM unnest($1::text[], $2::uuid[], $3::bigint[], $4::text[]) AS n (user_id, conversation_id, sequence_number, words)
WHERE m.user_id = n.user_id AND m.conversation_id = n.conversation_id AND m.sequence_number = n.sequence_number
