-- Messages whose number was another's already, because Redis had lost its tail and gave it again.

-- Where such a message stands; its event says another number.
CREATE TABLE renumbered (
    user_id text NOT NULL,
    conversation_id uuid NOT NULL,
    id text NOT NULL,                         -- the message's
    sequence_number bigint NOT NULL,
    PRIMARY KEY (user_id, conversation_id, id),
    FOREIGN KEY (user_id, conversation_id) REFERENCES conversations ON DELETE CASCADE
);

-- Whose the tombstone is, where it is one message's. Without: all messages in its range are gone.
ALTER TABLE tombstones ADD COLUMN message_id text;

-- Two histories that parted may have used one version for two removals.
ALTER TABLE tombstones DROP CONSTRAINT tombstones_pkey,
    ADD PRIMARY KEY (user_id, conversation_id, version, from_sequence);
