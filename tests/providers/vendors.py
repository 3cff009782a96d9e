"""How two vendors answer, as their public pages say: requests are judged field by field.

Anthropic: platform.claude.com/docs/en/api/messages and /errors. Google: ai.google.dev/api/
generate-content and /gemini-api/docs/troubleshooting. Each runs on `tests.providers.upstream`.
"""

from typing import Any, Final

from tests.providers.upstream import KEY, Act, Asked, Json, respond

CLAUDE: Final = "claude-test-4"
GEMINI: Final = "gemini-test-3"

MESSAGE_FIELDS: Final = frozenset(
    {"max_tokens", "messages", "model", "output_config", "system", "temperature", "thinking"}
    | {"stop_sequences", "top_k", "top_p"}
)
CONTENT_FIELDS: Final = frozenset(
    {"contents", "generationConfig", "safetySettings", "systemInstruction"}
)
GENERATION_FIELDS: Final = frozenset(
    {"candidateCount", "maxOutputTokens", "seed", "temperature", "thinkingConfig", "topP"}
    | {"logprobs", "responseLogprobs", "topK"}
)


def message(text: str = "24", *, stop_reason: str | None = "end_turn", **changed: object) -> Json:
    """A message object; `changed` are fields of the whole."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": f"{CLAUDE}-20260101",
        "content": [{"type": "text", "text": text, "citations": None}],
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 3,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 16,
            "output_tokens": 10,
            "service_tier": "standard",
        },
    } | changed


def anthropic_error(kind: str, said: str = "what it says") -> Json:
    """An error object."""
    return {"type": "error", "error": {"type": kind, "message": said}, "request_id": "req_1"}


def anthropic(asked: Asked) -> Act:
    """What the messages endpoint answers to a request, be it right or wrong."""
    if (asked.method, asked.path) != ("POST", "/v1/messages"):
        return respond(anthropic_error("not_found_error"), status=404)
    if asked.headers.get("x-api-key") != KEY:
        return respond(anthropic_error("authentication_error", "invalid x-api-key"), status=401)
    document = asked.document
    wrong = _misused(document)
    if "anthropic-version" not in asked.headers or wrong:
        return respond(anthropic_error("invalid_request_error", str(wrong)), status=400)
    if document["model"] != CLAUDE:
        return respond(anthropic_error("not_found_error", document["model"]), status=404)
    return respond(message(), headers={"request-id": "req_011"})


def _misused(document: Json) -> list[Any]:
    roles = [turn["role"] for turn in document["messages"]]
    wrong: list[Any] = sorted(document.keys() - MESSAGE_FIELDS)
    wrong += [role for role in roles if role not in {"user", "assistant"}]
    wrong += [] if roles[:1] == ["user"] else ["first message"]
    wrong += [] if 0 <= document.get("temperature", 1) <= 1 else ["temperature"]
    return wrong + ([] if document["max_tokens"] >= 1 else ["max_tokens"])


def content(
    text: str | None = "24", *, finish_reason: str | None = "STOP", **changed: object
) -> Json:
    """A generateContent reply; `changed` are fields of the whole."""
    parts: list[Json] = [] if text is None else [{"text": text}]
    return {
        "candidates": [
            {
                "content": {"parts": parts, "role": "model"},
                "finishReason": finish_reason,
                "index": 0,
            }
        ],
        "usageMetadata": {
            "promptTokenCount": 19,
            "candidatesTokenCount": 6,
            "thoughtsTokenCount": 4,
            "cachedContentTokenCount": 16,
            "totalTokenCount": 29,
        },
        "modelVersion": f"{GEMINI}-001",
        "responseId": "resp_1",
    } | changed


def gemini_error(code: int, status: str, said: str = "what it says") -> Json:
    """An error object (google.rpc.Status)."""
    return {"error": {"code": code, "message": said, "status": status}}


def gemini(asked: Asked) -> Act:
    """What the generateContent endpoint answers to a request, be it right or wrong."""
    if asked.headers.get("x-goog-api-key") != KEY:
        return respond(gemini_error(403, "PERMISSION_DENIED"), status=403)
    if (asked.method, asked.path) != ("POST", f"/v1/models/{GEMINI}:generateContent"):
        return respond(gemini_error(404, "NOT_FOUND"), status=404)
    document = asked.document
    unknown = document.keys() - CONTENT_FIELDS
    unknown |= document["generationConfig"].keys() - GENERATION_FIELDS
    roles = {turn["role"] for turn in document["contents"]}
    if unknown or roles - {"user", "model"}:
        said = f'Invalid JSON payload received. Unknown name "{sorted(unknown)}"'
        return respond(gemini_error(400, "INVALID_ARGUMENT", said), status=400)
    return respond(content())
