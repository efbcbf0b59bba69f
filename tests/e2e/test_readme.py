"""Every command of the README is run, in order, against a running service."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.web.envelope import BASE_PATH
from tests.support.dev import PATIENT, a_place, clean_environment, running_dev

pytestmark = pytest.mark.timeout(180)

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

# A call in the README: options, path below the base path, options.
CALL = re.compile(r'\bapi (.*?)"\$URL(/[^"?]*)[^"]*"((?:.|\\\n)*)')

# What the commands of each section must print; … stands for anything.
EXPECTED = {
    "Using the API": "",
    "Create": '"message":"Customer created successfully" … "first_name":"Jane" … "version":1',
    "Get": '200 OK … etag: "1" … "external_id":"cust-001"',
    "Change": '"first_name":"Janet" … "custom_fields":{"account_type":"premium","segment":"b2b"}'
    ' … "company_name":null … "custom_fields":{"segment":"b2b"} … "version":3',
    "Delete, and take it back": 'deleted successfully","data":{"id":" … restored … "version":5',
    "Your own ids": 'created successfully … "external_id":"shop/7" … "version":1'
    ' … "last_name":"Smith" … "version":2 … deleted successfully',
    "Many at once": '"created":1,"updated":1,"unchanged":0,"failed":1 … "/customers/2/email"'
    ' … "created":1,"updated":1,"unchanged":0,"failed":1 … "/customers/2/email"'
    ' … "status_code":400 … "code":"version_mismatch"',
    "List, filter, search, sort": '"external_id":"cust-002" … "external_id":"cust-001"'
    ' … "total":2, … "total":2, … "total":1, … "total":1,'
    ' … "last_name":"Doe" … "total":2,"total_pages":2,"has_next":true',
    "Walk through everything": "jane@example.com\njoe@example.com\n",
    "Tags": '"data":[{"tag":"gold","count":2},{"tag":"vip","count":1}]',
    "Let nobody's change be lost": '304 Not Modified … "last_name":"Roe" … "version":7'
    ' … "status_code":412 … "current_version":7',
    "Repeat safely": "200 OK … 200 OK … idempotency-replayed: true … kim@example.com"
    ' … "status_code":422 … idempotency_key_reused',
    "Read your own writes": '"last_name":"Doe" … "total":1, … "total":3,',
    "Catch typos": '"status_code":200 … "warnings":["lastname is no field'
    ' … "status_code":400 … "code":"unknown_field"',
    "Say who and why": '200 OK … x-request-id: ticket-99 … "request_id":"ticket-99"',
    "Who changed what, and how it was then": '"type":"CustomerCreated"'
    ' … "changes":{"email":{"from":null,"to":"jane@example.com"} … "next_after":2'
    ' … "first_name":"Jane" … "version":1 … "version":1 … "as_of":" … history … as_of',
    "Everything known of a person": "{",
    "Forget a person": '"where":"log","state":"done" … "status_code":410 … "type":"CustomerErased"',
    "Follow everything that happens": '"specversion":"1.0" … "has_more":false … "data":[]'
    " … event: CustomerCreated\ndata: {"
    ' … "hand_over":{"stream":"CUSTOMERS_1_1","subject":"customers.1.1.',
    "Rate limit": 'ratelimit-policy: "default";q=6000;w=60 … ratelimit: "default";r=',
    "Errors": '"pointer":"/email" … "pointer":"/phone" … "pointer":"/tags/0" … 404 Not Found'
    ' … content-type: application/problem+json … "type":"/problems/not_found"',
    "Generate a client": "",
    "Keys": "sk_live_ … acme",
    "Following the changes": '"type":"CustomerCreated" … "type":"CustomerUpdated"'
    ' … "type":"CustomerDeleted" … "type":"CustomerRestored"',
    "What an event looks like": '/schemas/CustomerCreated/1 … "previous"',
    "From the shell": 'log head … updated … {"position": … "type":"CustomerUpdated"'
    " … event 1 of log 1"
    " … whsec_ … --> … connection refused",
    "Looking back": '{"position":1,"event":{ … {"position":3,"event":{'
    " … version 1, since … jane@example.com … updated_at",
    "Auditing": '✓ events 1 to … signed head … "format":"customers proof 1","event":{'
    ' … "old_size":1, … development: … {"log":1,"generation":1,',
    "Erasing": "customer … erased … read_model … What stays: … dev … dev",
    "Is anything left of a person?": "value 1: j@e… … table edition_1.customers.document"
    " … messages of JetStream … write-ahead log … value 2: +… … found … nowhere",
    "The scrub": "log.receipts: written anew … built anew as edition 2 … clean",
    "Master keys": "current: wraps what is new … wrapped by development: 0 data keys",
    "The read model, built anew": "what the log says … is live … kept … live … is live … dropped",
}


def _commands() -> dict[str, str]:
    """The shell blocks of each section."""
    sections = re.split(r"^##+ ", README, flags=re.MULTILINE)
    blocks = {
        section.splitlines()[0]: re.findall(
            r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE
        )
        for section in sections
    }
    return {title: "".join(found) for title, found in blocks.items() if found}


def test_every_command_of_the_readme_works() -> None:
    commands = _commands()
    # These two start the service and these tests; the e2e tests and this very run are the proof.
    start = commands.pop("Start").splitlines()
    assert [line.split("#")[0].strip() for line in start] == ["make run", "make test"]
    assert set(commands) == set(EXPECTED)

    with a_place() as place, running_dev(place, **PATIENT) as dev:
        environment = clean_environment() | {
            "URL": f"{dev.said['url']}{BASE_PATH}",
            "KEY": dev.said["api_key"],
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        script = "".join(f'echo "=== {title}"\n{text}' for title, text in commands.items())
        ran = subprocess.run(
            ["bash", "-eu", "-c", script],
            cwd=place,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        document = (place / "openapi.json").read_text(encoding="utf-8")

    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    assert '"openapi":"3.1' in document.replace(" ", "")
    printed = dict(part.split("\n", 1) for part in ran.stdout.split("=== ")[1:])
    for title, expected in EXPECTED.items():
        _assert_in_order(printed[title], expected.split(" … "))


def test_every_call_that_there_is_is_shown() -> None:
    commands = "".join(_commands().values())
    shown = {
        (_method(f"{before} {behind} "), path) for before, path, behind in CALL.findall(commands)
    }
    document = json.loads((ROOT / "tests" / "golden" / "openapi.json").read_bytes())
    paths = {path: calls for path, calls in document["paths"].items() if path.startswith(BASE_PATH)}
    assert paths
    meant = {(method, _meant(called, list(paths))) for method, called in shown}
    for path, calls in paths.items():
        methods = {method for method, called in meant if called == path}
        assert methods >= calls.keys() - {"head", "parameters"}, path


def _meant(called: str, paths: list[str]) -> str | None:
    """The path of the document that a call means: literal words come before parameters."""
    fitting = [
        path
        for path in paths
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path.removeprefix(BASE_PATH)), called)
    ]
    return min(fitting, key=lambda path: path.count("{"), default=None)


def _method(options: str) -> str:
    named = re.search(r"-X (\w+)", options)
    if named:
        return named[1].lower()
    words = options.split()
    return "head" if "-I" in words else "post" if "-d" in words else "get"


def _assert_in_order(text: str, expected: list[str]) -> None:
    at = 0
    for part in expected:
        found = text.find(part, at)
        assert found >= 0, f"{part!r} is not after\n{text[:at]}\nin\n{text[at:]}"
        at = found + len(part)
