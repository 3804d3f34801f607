-- The ids of messages that are gone while their conversation is not: an append of one that comes late, or
-- again, adds nothing, under whatever number. (Tombstones are about numbers; a truncation names no ids.)
CREATE TABLE removed_messages (
    user_id text NOT NULL,
    conversation_id uuid NOT NULL,
    id text NOT NULL,                         -- the message's
    sequence_number bigint NOT NULL,          -- where it stood, or would have come to stand
    PRIMARY KEY (user_id, conversation_id, id),
    FOREIGN KEY (user_id, conversation_id) REFERENCES conversations ON DELETE CASCADE
);
INSERT INTO removed_messages (user_id, conversation_id, id, sequence_number)
SELECT DISTINCT ON (user_id, conversation_id, message_id) user_id, conversation_id, message_id, from_sequence
FROM tombstones
WHERE message_id IS NOT NULL
ORDER BY user_id, conversation_id, message_id, version;
