"""The server's own description (contract 2): both documents are valid, and schemathesis, driven by the OpenAPI one,
finds no request that is answered otherwise than it says."""

import copy
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import jsonschema_rs
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

SERVER_TESTS = Path(__file__).resolve().parent
ASYNCAPI_SCHEMA = (
    SERVER_TESTS.parent / ".cache/npm/node_modules/@asyncapi/specs/schemas/3.0.0.json"
)
# Examples per operation and phase; with them a run takes some ten seconds, and always the same requests.
EXAMPLES = 25
RUN_SECONDS = 110  # below the test timeout; a quarter of it on an idle machine
# A stream does not end, and a line of NDJSON is no JSON body to make up.
NOT_ASKED = "^/sse"


@pytest.fixture(scope="module")
def openapi(hub) -> dict:
    return hub.get("/openapi.json").json()


@pytest.fixture(scope="module")
def asyncapi(hub) -> dict:
    return hub.get("/asyncapi.json").json()


def is_openapi(document: dict) -> bool:
    return not list(OpenAPIV31SpecValidator(document).iter_errors())


def test_openapi_document_is_valid(openapi):
    assert is_openapi(openapi)
    broken = copy.deepcopy(openapi)
    broken["paths"]["/stats"]["get"]["responses"]["200"].pop("description")
    assert not is_openapi(broken), "the validator takes anything"


def test_asyncapi_document_is_valid(asyncapi):
    validator = jsonschema_rs.validator_for(json.loads(ASYNCAPI_SCHEMA.read_text()))
    faults = [f"{list(fault.instance_path)}: {fault.message}" for fault in validator.iter_errors(asyncapi)]
    assert not faults
    broken = copy.deepcopy(asyncapi)
    next(iter(broken["operations"].values()))["action"] = "shout"
    assert not validator.is_valid(broken), "the validator takes anything"


@pytest.mark.parametrize("path", ["/openapi.json", "/asyncapi.json"])
def test_documents_are_json_and_answer_head(hub, path):
    answer = hub.get(path)
    assert (answer.status, answer.header("content-type")) == (200, "application/json")
    head = hub.request("HEAD", path)
    assert (head.status, head.header("content-length")) == (200, answer.header("content-length"))


def test_every_described_path_exists(hub, openapi, asyncapi):
    for path, item in openapi["paths"].items():
        asked = path.replace("{channel}", "a")
        methods = {name.upper() for name in item} & {"GET", "HEAD", "POST", "DELETE", "OPTIONS"}
        allowed = set(hub.request("OPTIONS", asked).header("allow").split(", "))
        assert allowed == methods, path
        assert hub.request("PUT", asked).status == 405
    for channel in asyncapi["channels"].values():
        answer = hub.get(channel["address"].replace("{channel}", "a"))
        assert answer.status in (400, 426), f"{channel['address']} is no socket"


def test_closes_are_those_of_the_contract(asyncapi):
    closes = {(close["code"], close["reason"]): close["retry"] for close in asyncapi["x-close-reasons"]}
    assert closes[1000, "Normal closure"] == "no"
    assert closes[1001, "Server shutting down for maintenance"] == "with jitter"
    assert closes[1013, "Slow consumer"] == "later"


def test_server_answers_as_described_whatever_it_is_asked(hub):
    """Valid requests are taken, invalid ones refused, each answer has a described status, type and shape."""
    command = [
        Path(sys.executable).with_name("schemathesis"), "run",
        f"http://127.0.0.1:{hub.port}/openapi.json", "--exclude-path-regex", NOT_ASKED,
        "--max-examples", EXAMPLES, "--generation-deterministic", "--workers", 1,
        "--request-timeout", 5, "--no-color", "--warnings", "off",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        told = os.environ | {"SCHEMATHESIS_HOOKS": "describe_hooks", "PYTHONPATH": str(SERVER_TESTS)}
        run = subprocess.run(
            list(map(str, command)), env=told, cwd=folder, capture_output=True, text=True, timeout=RUN_SECONDS
        )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
