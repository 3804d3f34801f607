"""The OpenAPI 3.1 document, made from the operations that are routed and the models that check them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, cast

from openapi_pydantic import (
    Components,
    Example,
    Header,
    Info,
    MediaType,
    OpenAPI,
    Parameter,
    PathItem,
    Reference,
    RequestBody,
    Response,
    Schema,
    SecurityScheme,
)
from openapi_pydantic import Operation as OpenAPIOperation
from openapi_pydantic.util import PydanticSchema, construct_open_api_with_schema_class
from pydantic import BaseModel
from pydantic_core import to_json

from common.domain.messages import MAX_ID_CHARS
from services.gateway import examples, problems
from services.gateway.identity.credentials import ACT_FOR
from services.gateway.operations import JSON, Bound, Operation, Success
from services.gateway.problems import ProblemType
from services.gateway.schemas import EXAMPLE_ID, ProblemDetails

API_VERSION: Final = "1"
_BEARER: Final = "bearer"
_PATH_PARAMETERS: Final = {
    "conversation_id": ({"type": "string", "format": "uuid"}, EXAMPLE_ID),
    "message_id": ({"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARS}, examples.STORED["id"]),
}
_DESCRIPTION: Final = (
    "Conversations of chat and agent applications. Errors are RFC 9457 problems whose `errors` name the"
    " fields. Send a bearer token; in local modes a request without one is the test user's."
)


def openapi_json(bounds: Iterable[Bound]) -> bytes:
    """The document for `bounds`, as JSON."""
    paths: dict[str, PathItem] = {}
    for bound in bounds:
        described = bound.operation
        item = paths.setdefault(described.path, PathItem())
        setattr(item, described.method.lower(), _operation(described))
    document = OpenAPI(
        info=Info(title="Turnlog", version=API_VERSION, description=_DESCRIPTION),
        paths=paths,
        components=Components(
            securitySchemes={
                _BEARER: SecurityScheme(type="http", scheme="bearer", bearerFormat="JWT"),
            }
        ),
    )
    complete = construct_open_api_with_schema_class(document, [ProblemDetails])
    return to_json(complete.model_dump(by_alias=True, exclude_none=True, mode="json"))


def _operation(described: Operation) -> OpenAPIOperation:
    return OpenAPIOperation(
        operationId=described.name,
        summary=described.summary,
        description=described.description,
        tags=[described.tag],
        parameters=[*_path_parameters(described), *_query_parameters(described), *_headers(described)],
        requestBody=_request_body(described),
        responses={**_successes(described.successes), **_problems(described)},
        # Two alternatives: a token, or in local modes nothing at all.
        security=[] if described.public else [{_BEARER: []}, {}],
    )


def _path_parameters(described: Operation) -> list[Parameter | Reference]:
    return [
        Parameter.model_validate(
            {
                "name": name,
                "in": "path",
                "required": True,
                "schema": Schema.model_validate(schema),
                "example": example,
            }
        )
        for name, (schema, example) in _PATH_PARAMETERS.items()
        if f"{{{name}}}" in described.path
    ]


def _query_parameters(described: Operation) -> list[Parameter | Reference]:
    whole = described.query.model_json_schema()
    properties: Mapping[str, dict[str, Any]] = whole.get("properties", {})
    return [
        Parameter.model_validate(
            {
                "name": name,
                "in": "query",
                "required": name in whole.get("required", ()),
                "description": schema.get("description"),
                "schema": _without_null(schema),
            }
        )
        for name, schema in properties.items()
    ]


def _without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A query parameter is there or not; null, which the model knows, cannot be sent."""
    flat = {key: value for key, value in schema.items() if key not in ("anyOf", "title", "description")}
    branches = cast(Sequence[Mapping[str, Any]], schema.get("anyOf", ()))
    for branch in branches:
        if branch.get("type") != "null":
            flat.update(branch)
    if flat.get("default", 0) is None:
        del flat["default"]
    return flat


def _headers(described: Operation) -> list[Parameter | Reference]:
    text = {"type": "string"}
    headers = dict(described.headers)
    if not described.public:
        headers[ACT_FOR] = f"With a service's token (scope `{described.scope}`): for whom, percent-encoded."
    return [
        Parameter.model_validate({"name": name, "in": "header", "description": why, "schema": text})
        for name, why in headers.items()
    ]


def _request_body(described: Operation) -> RequestBody | None:
    if described.body is None:
        return None
    named = {name: Example(value=value) for name, value in described.body.examples.items()}
    media = MediaType(schema=_one_of(described.body.models), examples=dict(named))  # pyright: ignore[reportCallIssue]
    return RequestBody(required=True, content={JSON: media})


def _one_of(models: Sequence[type[BaseModel]]) -> Schema:
    schemas: list[Schema] = [PydanticSchema(schema_class=model) for model in models]
    return schemas[0] if len(schemas) == 1 else Schema(anyOf=[*schemas])


def _successes(successes: Mapping[int, Success]) -> dict[str, Response | Reference]:
    return {str(status): _success(success) for status, success in successes.items()}


def _success(success: Success) -> Response:
    headers = {
        name: Header.model_validate({"description": why, "schema": {"type": "string"}})
        for name, why in success.headers.items()
    }
    content: dict[str, MediaType] = {}
    if success.model is not None:
        schema = PydanticSchema(schema_class=success.model)
        content[success.content_type] = MediaType(schema=schema, example=success.example)  # pyright: ignore[reportCallIssue]
    elif success.content_type != JSON:
        content[success.content_type] = MediaType()
    for content_type, example in success.texts.items():
        text = Schema.model_validate({"type": "string"})
        content[content_type] = MediaType(schema=text, example=example)  # pyright: ignore[reportCallIssue]
    return Response(description=success.description, headers=dict(headers) or None, content=content or None)


def problems_of(described: Operation) -> list[ProblemType]:
    """Every kind of problem an operation can end in, its own and those that its shape brings."""
    kinds = list(described.problems)
    if not described.public:
        kinds += [problems.BAD_REQUEST, problems.UNAUTHENTICATED, problems.FORBIDDEN, problems.UNAVAILABLE]
    if described.body is not None:
        kinds += [problems.NOT_JSON, problems.TOO_LARGE, problems.UNSUPPORTED_MEDIA_TYPE]
    kinds += [problems.INVALID, problems.INTERNAL]
    return sorted(set(kinds), key=lambda kind: (kind.status, kind.name))


def _problems(described: Operation) -> dict[str, Response | Reference]:
    titles: dict[int, list[str]] = {}
    for kind in problems_of(described):
        titles.setdefault(kind.status, []).append(kind.title)
    responses: dict[str, Response | Reference] = {}
    for status, found in titles.items():
        example = examples.PROBLEM if status == HTTPStatus.UNPROCESSABLE_ENTITY else None
        media = MediaType(schema=PydanticSchema(schema_class=ProblemDetails), example=example)  # pyright: ignore[reportCallIssue]
        responses[str(status)] = Response(
            description="; or: ".join(found) + ".", content={problems.CONTENT_TYPE: media}
        )
    return responses
