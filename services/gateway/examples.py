"""Examples for the API's documentation; a test checks each against its model."""

from __future__ import annotations

from typing import Any, Final

_ID: Final = "0193a7c2-6b1e-7cc3-9d0a-3f1f8a4a5b6c"
_POSITION: Final = "1764151200123-0"

MESSAGE: Final[dict[str, Any]] = {"role": "user", "content": "What is the weather in Paris?"}
BATCH: Final[dict[str, Any]] = {
    "messages": [
        MESSAGE,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "weather"}}],
            "tokens_used": 31,
        },
        {"role": "tool", "tool_call_id": "call_1", "content": '{"celsius": 18}'},
    ]
}
SUBMISSION: Final[dict[str, Any]] = {"model": "example-1", **BATCH}
NEW_CONVERSATION: Final[dict[str, Any]] = {"title": "Paris", "metadata": {"channel": "web"}}

SUMMARY: Final[dict[str, Any]] = {
    "conversation_id": _ID,
    "title": "Paris",
    "model": None,
    "created_at": "2026-01-31T12:00:00.123Z",
    "message_count": 1,
    "preview": "What is the weather in Paris?",
    "last_modified": "2026-01-31T12:00:04.567Z",
}
CONVERSATION: Final[dict[str, Any]] = {**SUMMARY, "metadata": {"channel": "web"}}
CONVERSATION_LIST: Final[dict[str, Any]] = {"conversations": [SUMMARY], "next_cursor": None}

STORED: Final[dict[str, Any]] = {
    "sequence_number": 0,
    **MESSAGE,
    "id": "0193a7c2-7c2f-7aa1-8b1c-5e2d9c3b7a10",
    "created_at": "2026-01-31T12:00:04.567Z",
}
EDITED: Final[dict[str, Any]] = {**STORED, "content": "What is the weather in Rome?"}
WITH_MESSAGES: Final[dict[str, Any]] = {**CONVERSATION, "messages": [STORED]}
MESSAGE_LIST: Final[dict[str, Any]] = {"conversation_id": _ID, "messages": [STORED]}
EXPORTED_LINE: Final = (
    f'{{"conversation_id":"{_ID}","user_id":"alice","title":"Paris","model":null,"metadata":{{}},'
    '"created_at":"2026-01-31T12:00:00.123Z","messages":[{"sequence_number":0,"role":"user","content":"Hello",'
    '"id":"m-1","created_at":"2026-01-31T12:00:04.567Z"}]}\n'
)
EXPORTED_MARKDOWN: Final = (
    f"# Paris\n\n- Conversation: {_ID}\n- Begun: 2026-01-31T12:00:00.123Z\n"
    "- Last modified: 2026-01-31T12:00:04.567Z\n\n## 0 · user · 2026-01-31T12:00:04.567Z\n\nHello\n"
)
APPENDED: Final[dict[str, Any]] = {**MESSAGE_LIST, "position": _POSITION}
ACCEPTED: Final[dict[str, Any]] = {**APPENDED, "persisted": False}

SEARCH_HITS: Final[dict[str, Any]] = {
    "hits": [
        {
            "conversation_id": _ID,
            "title": "Paris",
            "sequence_number": 0,
            "id": STORED["id"],
            "role": "user",
            "created_at": STORED["created_at"],
            "score": 0.0334,
            "snippet": [
                {"text": "What is the ", "match": False},
                {"text": "weather", "match": True},
                {"text": " in ", "match": False},
                {"text": "Paris", "match": True},
                {"text": "?", "match": False},
            ],
        }
    ],
    "next_cursor": None,
}

ME: Final[dict[str, Any]] = {
    "user_id": "alice",
    "name": "alice",
    "identity": "token",
    "department": None,
    "service": None,
    "scopes": None,
    "mode": "local",
}
HEALTHY: Final[dict[str, Any]] = {"status": "ok", "checks": {}}
READY: Final[dict[str, Any]] = {"status": "ready", "checks": {"redis": "ok", "postgres": "ok"}}
PROBLEM: Final[dict[str, Any]] = {
    "type": "urn:turnlog:problem:invalid-request",
    "title": "The request is not valid",
    "status": 422,
    "detail": "messages.3.role: must be text",
    "errors": [{"field": "messages.3.role", "message": "must be text"}],
}
