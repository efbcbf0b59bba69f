"""`/asyncapi.json` is AsyncAPI 3.0 by a model of the specification that is not ours."""

import warnings
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from runtime.documents import events_document
from runtime.settings import Settings

with warnings.catch_warnings():
    # Two of its models have a member named as a method of pydantic's.
    warnings.simplefilter("ignore", UserWarning)
    from asyncapi3.models.asyncapi import AsyncAPI3

DOCUMENT: dict[str, Any] = msgspec.json.decode(events_document(Settings().public_url))
Change = Callable[[dict[str, Any]], object]
WRONG: dict[str, Change] = {
    "another version": lambda document: document.update(asyncapi="2.6.0"),
    "no title": lambda document: document["info"].pop("title"),
    "no host": lambda document: document["servers"]["nats"].pop("host"),
    "a URL, as in version 2": lambda document: document["servers"]["nats"].update(url="nats://a"),
    "a schema, as in version 2": lambda document: document["channels"]["customers"]["parameters"][
        "log"
    ].update(schema={"type": "string"}),
    "no action": lambda document: document["operations"]["publish_events"].pop("action"),
    "an action of version 2": lambda document: document["operations"]["publish_events"].update(
        action="publish"
    ),
    "a member that there is not": lambda document: document["channels"]["customers"].update(a=1),
    "a place that is none": lambda document: document["components"]["messages"]["CustomerCreated"][
        "correlationId"
    ].update(location="header"),
    "a kind of credentials that there is not": lambda document: document["components"][
        "securitySchemes"
    ]["nats"].update(type="nkey"),
}


def test_the_document_is_asyncapi() -> None:
    AsyncAPI3.model_validate(DOCUMENT)


@pytest.mark.parametrize("name", WRONG)
def test_a_document_that_is_not_is_found(name: str) -> None:
    document = deepcopy(DOCUMENT)
    WRONG[name](document)

    with pytest.raises(ValidationError):
        AsyncAPI3.model_validate(document)
