-- Users, their conversations and messages.
--
-- user_id leads every key and every index of users' data: it is the column by which all of it can be
-- distributed (Citus), and two users' conversations with one id never meet.

CREATE TABLE users (
    user_id text PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- A deleted conversation stays as a gravestone: deleted_at is set for ever, what it held is emptied, and
-- no later event brings anything back. A row whose state_version is 0 was begun by an event that overtook
-- the one that creates the conversation; that one fills it in.
CREATE TABLE conversations (
    user_id text NOT NULL REFERENCES users ON DELETE CASCADE,
    id uuid NOT NULL,
    title text,
    model text,
    metadata json NOT NULL,                   -- json, not jsonb: what comes back is what was sent
    created_at timestamptz NOT NULL,
    created_at_text text NOT NULL,            -- the same time as it was written
    last_modified_ms bigint NOT NULL,         -- milliseconds since 1970 UTC
    message_count bigint NOT NULL DEFAULT 0,  -- how many rows of messages there are
    preview text,
    preview_sequence bigint,                  -- the message that the preview is of
    next_sequence_number bigint NOT NULL,     -- numbers below it are never given out again
    version bigint NOT NULL,                  -- of the latest event applied
    state_version bigint NOT NULL,            -- of the event that title, model and metadata are from
    epoch bigint NOT NULL,
    deleted_at timestamptz,
    PRIMARY KEY (user_id, id)
);

CREATE INDEX conversations_listed ON conversations (user_id, last_modified_ms DESC, id DESC)
    WHERE deleted_at IS NULL;

-- payload is the whole message, byte for byte; the columns before it are copies for people's queries.
CREATE TABLE messages (
    user_id text NOT NULL,
    conversation_id uuid NOT NULL,
    sequence_number bigint NOT NULL,
    id text NOT NULL,
    role text,
    created_at timestamptz NOT NULL,
    tokens_used bigint,
    latency_ms double precision,
    model text,
    payload json NOT NULL,
    version bigint NOT NULL,                  -- of the event that payload is from
    edited boolean NOT NULL DEFAULT false,
    PRIMARY KEY (user_id, conversation_id, sequence_number),
    UNIQUE (user_id, conversation_id, id),
    FOREIGN KEY (user_id, conversation_id) REFERENCES conversations ON DELETE CASCADE
);

-- Sequence numbers whose messages are gone, both ends inclusive: an event that is delivered again, or
-- late, must not bring them back.
CREATE TABLE tombstones (
    user_id text NOT NULL,
    conversation_id uuid NOT NULL,
    version bigint NOT NULL,                  -- of the event that removed them
    from_sequence bigint NOT NULL,
    to_sequence bigint NOT NULL,
    PRIMARY KEY (user_id, conversation_id, version),
    FOREIGN KEY (user_id, conversation_id) REFERENCES conversations ON DELETE CASCADE
);
