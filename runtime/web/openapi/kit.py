"""What a side of the API says of its own calls, for the OpenAPI document to be made of."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, cast

import msgspec
from msgspec import Struct, field

from runtime.readable import Json
from runtime.text import CONTROL
from runtime.web.envelope import BASE_PATH
from runtime.web.json_faults import FORBIDDEN
from runtime.web.problems import ApiError

EXAMPLE_ID: Final = "01939c2e-7c1f-7d43-8f6a-0b6f5f3a9d21"
EXAMPLE_REQUEST_ID: Final = "01939c2e-8f00-7b3a-9d52-3f1c6f0f8a11"
_CUSTOMERS: Final = f"{BASE_PATH}/customers"
EXAMPLE_PATH: Final = f"{_CUSTOMERS}/{EXAMPLE_ID}"
_REF: Final = "#/components/schemas/{name}"
_CONTROL: Final = CONTROL.pattern.strip("[]")
# Written out, for what \s stands for differs between languages.
_WHITE: Final = "".join(
    character
    for character in map(chr, range(0x3001))
    if character.isspace() and not CONTROL.match(character)
)
NO_CONTROL: Final = f"^[^{_CONTROL}]*$"
"""The pattern of a text of one line."""
NOT_BLANK: Final = f"^[^{_CONTROL}]*[^{_CONTROL}{_WHITE}][^{_CONTROL}]*$"
"""The pattern of a text of one line that holds more than white space."""
NO_FORBIDDEN: Final = f"^[^{FORBIDDEN.pattern.strip('[]')}]*$"
"""The pattern of a text anywhere in JSON."""


class Body(Struct, frozen=True, kw_only=True):
    """The JSON body that a call takes."""

    schema: Json
    description: str
    examples: Mapping[str, Json]
    media_types: Sequence[str] = ("application/json",)


class Answer(Struct, frozen=True, kw_only=True):
    """A success; without a schema it has no body."""

    description: str
    schema: Json | None = None
    examples: Mapping[str, Json] = field(default_factory=dict[str, Json])
    headers: Sequence[str] = ()
    """Those beside the ones that every answer has."""
    links: Mapping[str, Json] = field(default_factory=dict[str, Json])
    media_types: Sequence[str] = ("application/json",)
    other_forms: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """By media type, what else the body may be, with its schema and examples."""


class FailureExample(Struct, frozen=True, kw_only=True):
    """A failure as the service answers it."""

    code: str
    """Of its kind in `PROBLEMS`."""
    body: bytes


class Operation(Struct, frozen=True, kw_only=True):
    """What there is to say of one call beside its path, its methods and its scope."""

    tag: str
    description: str
    answers: Mapping[int, Answer]
    parameters: Sequence[Json] = ()
    body: Body | None = None
    failures: Sequence[str] = ()
    """Names of those beside the ones that every call with a key may answer."""


class Description(Struct, frozen=True, kw_only=True):
    """All that one side says: its calls by the names of their routes, and what they share."""

    operations: Mapping[str, Operation] = field(default_factory=dict[str, Operation])
    failures: Mapping[str, FailureExample] = field(default_factory=dict[str, FailureExample])
    schemas: Mapping[str, Json] = field(default_factory=dict[str, Json])
    parameters: Mapping[str, Json] = field(default_factory=dict[str, Json])


def trimmed_pattern(length_max: int, *, without: str) -> str:
    """The pattern of a text of one line that is trimmed, not empty, and then so long at most.

    None of the characters `without` may be in it.
    """
    kept = f"[^{_CONTROL}{without}]"
    edge = f"[^{_CONTROL}{without}{_WHITE}]"
    return f"^[{_WHITE}]*{edge}({kept}{{0,{length_max - 2}}}{edge})?[{_WHITE}]*$"


def ref(name: str) -> Json:
    """A schema of the document by its name."""
    return {"$ref": _REF.format(name=name)}


def object_schema(
    properties: Mapping[str, Json], *, required: Sequence[str], description: str = ""
) -> Json:
    """An object that has these members, and may get more."""
    schema: Json = {"type": "object"}
    if description:
        schema["description"] = description
    return schema | {"properties": dict(properties), "required": list(required)}


def described(struct: type[Struct], description: str, **members: Json) -> Json:
    """The schema of a struct as answers carry it, every member always there.

    `members` adds to single members what their types do not say, or replaces them by a type.
    """
    _, schemas = msgspec.json.schema_components([struct], ref_template=_REF)
    schema = schemas[struct.__name__]
    properties = cast(dict[str, Json], schema["properties"])
    for name, addition in members.items():
        properties[name] = addition if "type" in addition else properties[name] | addition
    for member in properties.values():
        member.pop("default", None)
    return object_schema(properties, required=list(properties), description=description)


def success_schema(data: Json, meta: Json) -> Json:
    """The envelope of a success around its data."""
    return object_schema(
        {
            "success": {"type": "boolean", "const": True},
            "status_code": {"type": "integer", "const": 200},
            "message": {"type": "string", "description": "What was done, for people."},
            "data": data,
            "meta": meta,
        },
        required=["success", "status_code", "message", "data", "meta"],
    )


def success_example(message: str, data: object, meta: Json | None = None) -> Json:
    """What such an answer looks like."""
    return {
        "value": {
            "success": True,
            "status_code": 200,
            "message": message,
            "data": data,
            "meta": {**(meta or {}), "request_id": EXAMPLE_REQUEST_ID},
        }
    }


def failure(error: ApiError, path: str = _CUSTOMERS) -> FailureExample:
    """The failure that an error is answered as, at this path."""
    return FailureExample(code=error.code, body=error.body(EXAMPLE_REQUEST_ID, path))


def raised_by(refuse: Callable[[], object]) -> ApiError:
    """The error that a reader of requests refuses something with."""
    try:
        refuse()
    except ApiError as error:
        return error
    raise AssertionError("It was not refused.")


def link(operation: str, description: str, parameters: Mapping[str, str]) -> Json:
    """How to go on from an answer: the parameters are runtime expressions."""
    return {
        "operationId": operation,
        "description": description,
        "parameters": dict(parameters),
    }
