-- What `turnlog verify` asks. Each answer is of one moment.

-- name: verify_conversation
-- $1 user  $2 conversation  $3 how many of the newest messages  $4 numbers that pending events touch
-- rows_untouched: messages with other numbers; removed: those of $4 that are tombstoned; buried: messages
-- that should not be there; gaps: numbers below next_sequence_number with neither message nor tombstone.
SELECT c.id::text, c.title, c.model, c.metadata, c.created_at_text, c.last_modified_ms, c.message_count,
    c.preview, c.preview_sequence, c.next_sequence_number, c.version, c.state_version, c.epoch,
    c.deleted_at IS NOT NULL AS deleted,
    m.numbers, m.payloads, m.versions, r.rows_all, r.rows_untouched, r.highest, b.buried, t.removed,
    g.gap_starts, g.gap_ends
FROM conversations AS c
CROSS JOIN LATERAL (
    SELECT array_agg(newest.sequence_number) AS numbers, array_agg(newest.payload) AS payloads,
        array_agg(newest.version) AS versions
    FROM (
        SELECT sequence_number, payload, version
        FROM messages
        WHERE user_id = $1 AND conversation_id = $2
        ORDER BY sequence_number DESC
        LIMIT $3
    ) AS newest
) AS m
CROSS JOIN LATERAL (
    SELECT count(*) AS rows_all, max(sequence_number) AS highest,
        count(*) FILTER (WHERE sequence_number <> ALL ($4::bigint[])) AS rows_untouched
    FROM messages
    WHERE user_id = $1 AND conversation_id = $2
) AS r
CROSS JOIN LATERAL (
    SELECT count(*) AS buried
    FROM messages AS m
    WHERE m.user_id = $1 AND m.conversation_id = $2
        AND (
            c.deleted_at IS NOT NULL
            OR EXISTS (
                SELECT FROM tombstones AS t
                WHERE t.user_id = $1 AND t.conversation_id = $2
                    AND m.sequence_number BETWEEN t.from_sequence AND t.to_sequence
            )
        )
) AS b
CROSS JOIN LATERAL (
    SELECT array_agg(n.number) AS removed
    FROM unnest($4::bigint[]) AS n (number)
    WHERE EXISTS (
        SELECT FROM tombstones AS t
        WHERE t.user_id = $1 AND t.conversation_id = $2
            AND n.number BETWEEN t.from_sequence AND t.to_sequence
    )
) AS t
CROSS JOIN LATERAL (
    SELECT array_agg(hole.starts) AS gap_starts, array_agg(hole.ends) AS gap_ends
    FROM (
        SELECT covered.before + 1 AS starts, covered.low - 1 AS ends
        FROM (
            SELECT low, COALESCE(
                    max(high) OVER (ORDER BY low, high ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), -1
                ) AS before
            FROM (
                SELECT sequence_number AS low, sequence_number AS high
                FROM messages
                WHERE user_id = $1 AND conversation_id = $2
                UNION ALL
                SELECT from_sequence, to_sequence
                FROM tombstones
                WHERE user_id = $1 AND conversation_id = $2
                UNION ALL
                SELECT c.next_sequence_number, c.next_sequence_number
            ) AS pieces
        ) AS covered
        WHERE covered.low > covered.before + 1 AND c.deleted_at IS NULL
        ORDER BY 1
        LIMIT 100
    ) AS hole
) AS g
WHERE c.user_id = $1 AND c.id = $2

-- name: verify_ids
-- $2 conversation  $3 message ids  $4 and all messages from this number on
SELECT id, sequence_number
FROM messages
WHERE user_id = $1 AND conversation_id = $2 AND (sequence_number >= $4 OR id = ANY ($3::text[]))

-- name: verify_tombstoned
-- Which numbers are tombstoned. $2 conversation  $3 numbers
SELECT n.number
FROM unnest($3::bigint[]) AS n (number)
WHERE EXISTS (
    SELECT FROM tombstones AS t
    WHERE t.user_id = $1 AND t.conversation_id = $2
        AND n.number BETWEEN t.from_sequence AND t.to_sequence
)

-- name: verify_walk
-- All conversations, page by page. $1, $2 after this one  $3 modified since  $4 how many
SELECT user_id, id::text
FROM conversations
WHERE (user_id, id) > ($1, $2::uuid) AND last_modified_ms >= $3
ORDER BY user_id, conversations.id
LIMIT $4

-- name: verify_walk_user
-- Those of one user. $2 after this one  $3 modified since  $4 how many
SELECT user_id, id::text
FROM conversations
WHERE user_id = $1 AND id > $2::uuid AND last_modified_ms >= $3
ORDER BY conversations.id
LIMIT $4

-- name: verify_count
-- $1 the user, or '' for all  $2 modified since
SELECT count(*)
FROM conversations
WHERE ($1 = '' OR user_id = $1) AND last_modified_ms >= $2

-- name: verify_known
-- Which of these conversations there are. $1 users  $2 conversations
SELECT c.user_id, c.id::text
FROM conversations AS c
JOIN unnest($1::text[], $2::uuid[]) AS n (user_id, id) USING (user_id, id)

-- name: verify_known_users
-- Which of these users have conversations. $1 users
SELECT u.user_id
FROM unnest($1::text[]) AS u (user_id)
WHERE EXISTS (SELECT FROM conversations AS c WHERE c.user_id = u.user_id)

-- name: verify_states
-- Of these conversations. $1 users  $2 conversations
SELECT c.user_id, c.id::text, c.state_version, c.deleted_at IS NOT NULL AS deleted
FROM conversations AS c
JOIN unnest($1::text[], $2::uuid[]) AS n (user_id, id) USING (user_id, id)

-- name: verify_recorded_messages
-- Which of these messages are there, with the version they are of, or are gone for good (version null).
-- $1 users  $2 conversations  $3 ids  $4 numbers
SELECT n.user_id, n.conversation_id::text, n.id, n.number, m.version
FROM unnest($1::text[], $2::uuid[], $3::text[], $4::bigint[]) AS n (user_id, conversation_id, id, number)
LEFT JOIN messages AS m USING (user_id, conversation_id, id)
WHERE m.id IS NOT NULL OR EXISTS (
    SELECT FROM tombstones AS t
    WHERE t.user_id = n.user_id AND t.conversation_id = n.conversation_id
        AND n.number BETWEEN t.from_sequence AND t.to_sequence
) OR EXISTS (
    SELECT FROM removed_messages AS g
    WHERE g.user_id = n.user_id AND g.conversation_id = n.conversation_id AND g.id = n.id
)

-- name: verify_recorded_removals
-- Which of these removals are known. $1 users  $2 conversations  $3 versions
SELECT t.user_id, t.conversation_id::text, t.version
FROM tombstones AS t
JOIN unnest($1::text[], $2::uuid[], $3::bigint[]) AS n (user_id, conversation_id, version)
    USING (user_id, conversation_id, version)

-- name: verify_recorded_logs
-- Which of these logged queries are there. $1 users  $2 log ids
SELECT l.user_id, l.log_id
FROM query_logs AS l
JOIN unnest($1::text[], $2::text[]) AS n (user_id, log_id) USING (user_id, log_id)

-- name: verify_holder
-- Who has the say. While it is not the log, Redis is behind on purpose.
SELECT holder FROM authority

-- name: mend_buried
-- Messages of a deleted conversation, or with tombstoned numbers. Under the conversation's lock.
WITH gone AS (
    DELETE FROM messages AS m
    WHERE m.user_id = $1 AND m.conversation_id = $2
        AND (
            EXISTS (
                SELECT FROM conversations AS c
                WHERE c.user_id = $1 AND c.id = $2 AND c.deleted_at IS NOT NULL
            )
            OR EXISTS (
                SELECT FROM tombstones AS t
                WHERE t.user_id = $1 AND t.conversation_id = $2
                    AND m.sequence_number BETWEEN t.from_sequence AND t.to_sequence
            )
        )
    RETURNING m.user_id, m.conversation_id, m.id, m.sequence_number
)
INSERT INTO removed_messages (user_id, conversation_id, id, sequence_number)
SELECT g.user_id, g.conversation_id, g.id, g.sequence_number
FROM gone AS g
JOIN conversations AS c ON c.user_id = g.user_id AND c.id = g.conversation_id AND c.deleted_at IS NULL
ON CONFLICT DO NOTHING

-- name: mend_conversation
-- Counts and preview as the messages have them; counters only ever go up. Under the conversation's lock.
-- $2 conversation  $3 preview  $4 its message  $5-7 next, version and epoch, at least
UPDATE conversations AS c
SET message_count = CASE WHEN c.deleted_at IS NULL THEN r.rows_all ELSE 0 END,
    preview = CASE WHEN c.deleted_at IS NULL THEN $3::text END,
    preview_sequence = CASE WHEN c.deleted_at IS NULL THEN $4::bigint END,
    title = CASE WHEN c.deleted_at IS NULL THEN c.title END,
    model = CASE WHEN c.deleted_at IS NULL THEN c.model END,
    metadata = CASE WHEN c.deleted_at IS NULL THEN c.metadata ELSE '{}' END,
    next_sequence_number = GREATEST(c.next_sequence_number, r.highest + 1, $5::bigint),
    version = GREATEST(c.version, $6::bigint),
    epoch = GREATEST(c.epoch, $7::bigint)
FROM (
    SELECT count(*) AS rows_all, max(sequence_number) AS highest
    FROM messages
    WHERE user_id = $1 AND conversation_id = $2
) AS r
WHERE c.user_id = $1 AND c.id = $2

-- name: mend_gap
-- Numbers whose messages nobody has: never to be filled. $2 conversation  $3, $4 from and to
-- No event has this version: they begin with 1.
INSERT INTO tombstones (user_id, conversation_id, version, from_sequence, to_sequence)
VALUES ($1, $2, -1 - $3::bigint, $3, $4)
ON CONFLICT DO NOTHING
