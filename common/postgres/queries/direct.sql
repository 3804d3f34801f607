-- What changes to conversations need where there is no log: besides these, they are written by write.sql.
-- Rows are locked in the order of write.sql: users, conversations, and then idempotency keys.

-- name: lock_conversation
-- $1 user  $2 conversation
SELECT id::text, title, model, metadata, created_at_text, last_modified_ms, message_count, preview,
    next_sequence_number, version, epoch, deleted_at IS NOT NULL AS deleted
FROM conversations
WHERE user_id = $1 AND id = $2
FOR NO KEY UPDATE

-- name: remembered_key
-- $1 user  $2 digest of the key
SELECT request_digest, sequence_numbers
FROM idempotency_keys
WHERE user_id = $1 AND key_digest = $2 AND expires_at > now()

-- name: remember_key
-- Replies a row where the key is ours now: it was new, or its time was over, or it stands for this request.
-- $1 user  $2 digest of the key  $3 digest of the request  $4 sequence numbers  $5 seconds to keep it
INSERT INTO idempotency_keys AS k (user_id, key_digest, request_digest, sequence_numbers, expires_at)
VALUES ($1, $2, $3, $4::bigint[], now() + make_interval(secs => $5))
ON CONFLICT (user_id, key_digest) DO UPDATE
SET request_digest = excluded.request_digest, sequence_numbers = excluded.sequence_numbers,
    expires_at = excluded.expires_at
WHERE k.expires_at <= now() OR k.request_digest = excluded.request_digest
RETURNING true

-- name: forget_keys
-- One step of a walk through the whole table in the order of its key; what is over goes. Those that
-- another process removes at the same time are left to it. Replies how many went, and where to go on.
-- $1, $2 the last key of the step before ('' and '' at first)  $3 how many to look at
WITH step AS (
    SELECT user_id, key_digest
    FROM idempotency_keys
    WHERE (user_id, key_digest) > ($1, $2)
    ORDER BY user_id, key_digest
    LIMIT $3
), over AS (
    SELECT k.user_id, k.key_digest
    FROM idempotency_keys AS k
    JOIN step USING (user_id, key_digest)
    WHERE k.expires_at <= now()
    FOR UPDATE OF k SKIP LOCKED
), gone AS (
    DELETE FROM idempotency_keys AS k
    USING over
    WHERE k.user_id = over.user_id AND k.key_digest = over.key_digest
    RETURNING 1
)
SELECT (SELECT count(*) FROM gone) AS removed, last.user_id, last.key_digest
FROM (SELECT user_id, key_digest FROM step ORDER BY user_id DESC, key_digest DESC LIMIT 1) AS last
