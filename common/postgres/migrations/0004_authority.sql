-- Who has the say over conversations: the log in Redis, or (while it is away) this record.

-- 'log'        changes go on the log; this record follows it
-- 'leaving'    the log is out of somebody's reach; every session hands over, or one that reaches it objects
-- 'record'     changes are made here, and nobody uses the log
-- 'returning'  the log is back; its caches are being dropped, and changes wait
-- The term is raised by each change, so that what was decided under another one comes to nothing.
CREATE TABLE authority (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    holder text NOT NULL CHECK (holder IN ('log', 'leaving', 'record', 'returning')),
    term bigint NOT NULL,
    since timestamptz NOT NULL DEFAULT now()
);
INSERT INTO authority (holder, term) VALUES ('log', 1);

-- Processes that may put events on the log, or ('record') that have no log and need the record to keep the
-- say. A row outlives a process that was killed: what it had acknowledged may still be on the log only.
CREATE TABLE log_sessions (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    uses text NOT NULL CHECK (uses IN ('log', 'record')),
    handed_over bigint,                       -- the term in which it stopped using the log
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now()
);

-- Conversations with events that may be on the log and not in this record, as the sessions handed them
-- over: until the log is back, nobody can say how they stand.
CREATE TABLE unsettled (
    user_id text NOT NULL,
    conversation_id uuid NOT NULL,
    session_id uuid NOT NULL,
    noted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, conversation_id, session_id)
);
