-- Who has the say, and the sessions that use the log. Every change of holder is a compare-and-set on the term.

-- name: authority_seen
-- A session shows that it is there. Replies the authority, and whether the session (still) has a row.
-- $1 session
WITH seen AS (
    UPDATE log_sessions SET seen_at = clock_timestamp() WHERE id = $1 RETURNING id
)
SELECT a.holder, a.term, EXISTS (SELECT FROM seen) AS registered
FROM authority AS a

-- name: authority_report
-- $1 seconds of silence after which a session counts as gone
SELECT a.holder, extract(epoch FROM clock_timestamp() - a.since)::float8 AS since_seconds,
    (SELECT count(*) FROM (SELECT DISTINCT user_id, conversation_id FROM unsettled) AS u) AS unsettled,
    (SELECT count(*) FROM log_sessions) AS sessions,
    (SELECT count(*) FROM log_sessions
        WHERE seen_at < clock_timestamp() - make_interval(secs => $1)) AS silent_sessions
FROM authority AS a

-- name: authority_register
-- FOR SHARE: while a session is being added, nobody takes the say away from the log; none is added after.
-- $1 session  $2 name  $3 what it uses  $4 holders under which it may be added
WITH held AS (
    SELECT holder, term FROM authority WHERE holder = ANY ($4::text[]) FOR SHARE
), added AS (
    INSERT INTO log_sessions (id, name, uses)
    SELECT $1, $2, $3 FROM held
    ON CONFLICT (id) DO UPDATE SET seen_at = clock_timestamp()
)
SELECT holder, term FROM held

-- name: authority_stand_in_line
-- Before the say moves. Changes hold the row FOR SHARE, one after the other and always somebody: who waits for the
-- row alone may wait for ever, because each new one is let in beside those that are there. Who waits for the
-- table has its turn: whoever comes later stands behind. Reads do not notice.
LOCK TABLE authority IN EXCLUSIVE MODE

-- name: authority_move
-- $1 from holder  $2 its term  $3 to holder
UPDATE authority SET holder = $3, term = term + 1, since = clock_timestamp()
WHERE holder = $1 AND term = $2
RETURNING term

-- name: authority_moment
-- $1 holder  $2 its term
SELECT concat_ws(' ', term, since) AS moment
FROM authority
WHERE holder = $1 AND term = $2

-- name: authority_hand_over
-- $1 session  $2 term. Nothing happens where the term is over.
UPDATE log_sessions SET handed_over = $2
WHERE id = $1 AND EXISTS (SELECT FROM authority WHERE holder = 'leaving' AND term = $2 FOR SHARE)
RETURNING id

-- name: authority_note_unsettled
-- $1 session  $2 users  $3 conversations
INSERT INTO unsettled (session_id, user_id, conversation_id)
SELECT $1, * FROM unnest($2::text[], $3::uuid[])
ON CONFLICT DO NOTHING

-- name: authority_keep_unsettled
-- Only these of a session are unsettled still.
-- $1 session  $2 users  $3 conversations
DELETE FROM unsettled AS u
WHERE session_id = $1 AND NOT EXISTS (
    SELECT FROM unnest($2::text[], $3::uuid[]) AS n (user_id, conversation_id)
    WHERE n.user_id = u.user_id AND n.conversation_id = u.conversation_id
)

-- name: authority_take
-- The record takes the say, if every session that uses the log has handed over.
-- $1 term
UPDATE authority SET holder = 'record', term = term + 1, since = clock_timestamp()
WHERE holder = 'leaving' AND term = $1
    AND NOT EXISTS (SELECT FROM log_sessions WHERE uses = 'log' AND handed_over IS DISTINCT FROM $1)
RETURNING term

-- name: authority_holdouts
-- Sessions that have not handed over, the longest silent first.
-- $1 term
SELECT name, extract(epoch FROM clock_timestamp() - seen_at)::float8 AS silent_seconds
FROM log_sessions
WHERE uses = 'log' AND handed_over IS DISTINCT FROM $1
ORDER BY seen_at

-- name: authority_forget_handed_over
-- $1 the term in which they did
DELETE FROM log_sessions WHERE uses = 'log' AND handed_over = $1

-- name: authority_close_session
DELETE FROM log_sessions WHERE id = $1

-- name: authority_live_record_users
-- Processes that have no log and are there.
-- $1 seconds of silence after which one counts as gone
SELECT count(*) FROM log_sessions
WHERE uses = 'record' AND seen_at > clock_timestamp() - make_interval(secs => $1)

-- name: authority_count_unsettled
SELECT count(*) FROM (SELECT DISTINCT user_id, conversation_id FROM unsettled) AS waiting

-- name: authority_leftovers
-- What silent sessions left behind: looked up before the end of the log is, forgotten once that is settled.
-- $1 seconds of silence
SELECT id FROM log_sessions WHERE seen_at < clock_timestamp() - make_interval(secs => $1)
UNION
SELECT session_id FROM unsettled AS u
WHERE NOT EXISTS (SELECT FROM log_sessions AS s WHERE s.id = u.session_id)

-- name: authority_forget_sessions
-- $1 sessions  $2 seconds of silence
WITH gone AS (
    DELETE FROM log_sessions
    WHERE id = ANY ($1::uuid[]) AND seen_at < clock_timestamp() - make_interval(secs => $2)
)
DELETE FROM unsettled AS u
WHERE session_id = ANY ($1::uuid[]) AND NOT EXISTS (
    SELECT FROM log_sessions AS s
    WHERE s.id = u.session_id AND s.seen_at >= clock_timestamp() - make_interval(secs => $2)
)

-- name: authority_guard_read
-- In the snapshot of a read: who has the say, and whether the conversation's (any of the user's, without one)
-- standing is known.
-- $1 user  $2 conversation or null
SELECT a.holder, EXISTS (
    SELECT FROM unsettled AS u
    WHERE u.user_id = $1 AND ($2::uuid IS NULL OR u.conversation_id = $2)
) AS unsettled
FROM authority AS a

-- name: authority_guard_change
-- In the transaction of a change; as above. The say cannot move while the transaction runs.
SELECT a.holder, EXISTS (
    SELECT FROM unsettled AS u
    WHERE u.user_id = $1 AND ($2::uuid IS NULL OR u.conversation_id = $2)
) AS unsettled
FROM authority AS a
FOR SHARE OF a

-- name: settled_proofs
-- Which of these are in the record: a message by its number (kind 'message'), a state by its version
-- ('state'), an edit or removal of messages by its version ('edited', 'removed'), a delete ('deleted'), which settles all that came before it.
-- $1 users  $2 conversations  $3 kinds  $4 numbers or versions
SELECT n.place::integer - 1 AS place
FROM unnest($1::text[], $2::uuid[], $3::text[], $4::bigint[])
    WITH ORDINALITY AS n (user_id, conversation_id, kind, value, place)
JOIN conversations AS c ON c.user_id = n.user_id AND c.id = n.conversation_id
WHERE c.deleted_at IS NOT NULL
    OR (n.kind = 'state' AND c.state_version >= n.value)
    -- Not before its creation is known: who changed its title now would lose what it was created with.
    OR (n.kind = 'message' AND c.state_version > 0 AND (
        EXISTS (
            SELECT FROM messages AS m
            WHERE m.user_id = n.user_id AND m.conversation_id = n.conversation_id
                AND m.sequence_number = n.value
        ) OR EXISTS (
            SELECT FROM removed_messages AS g
            WHERE g.user_id = n.user_id AND g.conversation_id = n.conversation_id
                AND g.sequence_number = n.value
        )
    ))
    -- One that was overtaken by a later edit of the same message cannot be told from one that is missing.
    OR (n.kind = 'edited' AND EXISTS (
        SELECT FROM messages AS m
        WHERE m.user_id = n.user_id AND m.conversation_id = n.conversation_id AND m.version = n.value
            AND m.edited
    ))
    OR (n.kind = 'removed' AND EXISTS (
        SELECT FROM tombstones AS t
        WHERE t.user_id = n.user_id AND t.conversation_id = n.conversation_id AND t.version = n.value
    ))
