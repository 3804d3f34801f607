-- Sessions whose client stands still inside a transaction, and keeps what it has locked.

-- name: end_standing_sessions
-- $1 application names  $2 for how long they have said nothing (seconds). Only sessions of our own role: others
-- we may neither see nor end. `idle in transaction` is for the session's own time-out as well; `active` and
-- waiting for its client is one between the Parse and the Bind of a statement, which no time-out ends.
SELECT pid, application_name, pg_terminate_backend(pid) AS ended
FROM pg_stat_activity
WHERE application_name = ANY ($1::text[])
  AND datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
  AND xact_start IS NOT NULL AND wait_event_type = 'Client' AND wait_event = 'ClientRead'
  AND state IN ('active', 'idle in transaction')
  AND state_change < clock_timestamp() - make_interval(secs => $2)
