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

from support.tokens import REQUIRED, bearer, mint

SERVER_TESTS = Path(__file__).resolve().parent
ASYNCAPI_SCHEMA = (
    SERVER_TESTS.parent / ".cache/npm/node_modules/@asyncapi/specs/schemas/3.0.0.json"
)
# Examples per operation and phase; with them a run takes some ten seconds, and always the same requests.
EXAMPLES = 25
EXAMPLES_WITH_TOKENS = 5
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


def asyncapi_faults(document: dict) -> list[str]:
    validator = jsonschema_rs.validator_for(json.loads(ASYNCAPI_SCHEMA.read_text()))
    return [f"{list(fault.instance_path)}: {fault.message}" for fault in validator.iter_errors(document)]


def test_asyncapi_document_is_valid(asyncapi):
    assert asyncapi_faults(asyncapi) == []
    broken = copy.deepcopy(asyncapi)
    next(iter(broken["operations"].values()))["action"] = "shout"
    assert asyncapi_faults(broken), "the validator takes anything"


def test_queries_of_sockets_are_those_that_have_an_effect(asyncapi):
    """It knew half of them, of `freqsearch` none, and named filters where subscriptions by command say their own."""
    named = {channel["address"]: set(channel["bindings"]["ws"]["query"]["properties"]) for channel in asyncapi["channels"].values()}
    filters = {"types", "priorities", "sources", "token"}
    assert named == {
        "/": {"token"}, "/router": {"token"}, "/api/v1/ws/events": filters | {"rooms"}, "/ws": {"token"},
        "/ws/{channel}": filters | {"since", "after", "format"}, "/ws/events/{channel}": filters | {"since", "after"},
    }  # fmt: skip


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


class TestSecurity:
    """What the document says of tokens is what the server asks for."""

    def test_is_said_only_where_somebody_asks(self, openapi):
        assert "securitySchemes" not in openapi["components"]
        operations = [item for path in openapi["paths"].values() for item in path.values() if isinstance(item, dict)]
        assert operations and not any("security" in item or "401" in item["responses"] for item in operations)

    def test_needs_of_each_operation_are_those_of_the_server(self, start_courier):
        courier = start_courier(REQUIRED)
        document = courier.get("/openapi.json").json()
        assert is_openapi(document)
        schemes = document["components"]["securitySchemes"]
        assert {name: scheme["type"] for name, scheme in schemes.items()} == {
            "bearer": "http", "apiKey": "apiKey", "query": "apiKey", "cookie": "apiKey",
        }  # fmt: skip
        assert schemes["cookie"]["name"] == "courier_token"
        asked = secured = 0
        for path, item in document["paths"].items():
            for method in {"get", "head", "post", "delete", "options"} & set(item):
                operation, target = item[method], path.replace("{channel}", "a")
                needs = "security" in operation
                answer = courier.request(method.upper(), f"{target}?channel=a", b"{}" if method == "post" else None)
                assert (answer.status == 401) == needs, (method, path, answer.status)
                asked, secured = asked + 1, secured + needs
                if needs:
                    assert {*schemes} == {name for way in operation["security"] for name in way}
                    assert {"401", "403"} <= set(operation["responses"]) and answer.header("www-authenticate")
        assert secured > 10 and asked - secured > 10

    def test_sockets_name_the_same_places(self, start_courier):
        """They named none, though a socket without a token is closed."""
        courier = start_courier(REQUIRED)
        document = courier.get("/asyncapi.json").json()
        assert asyncapi_faults(document) == []
        schemes = document["components"]["securitySchemes"]
        assert {name: (scheme["type"], scheme.get("in")) for name, scheme in schemes.items()} == {
            "bearer": ("http", None), "apiKey": ("httpApiKey", "header"), "query": ("httpApiKey", "query"),
            "cookie": ("httpApiKey", "cookie"),
        }  # fmt: skip
        named = [scheme["$ref"].rpartition("/")[2] for scheme in document["servers"]["courier"]["security"]]
        assert sorted(named) == sorted(schemes)

    def test_sockets_name_none_where_nobody_asks(self, asyncapi):
        assert "securitySchemes" not in asyncapi["components"] and "security" not in asyncapi["servers"]["courier"]

    def test_each_place_is_taken(self, start_courier):
        courier, token = start_courier(REQUIRED | {"cors.allowed_origins": "https://app.example"}), mint()
        assert courier.get("/stats", bearer(token)).status == 200
        assert courier.get(f"/stats?token={token}").status == 200
        own = {"Cookie": f"courier_token={token}", "Origin": "https://app.example"}
        assert courier.get("/stats", own).status == 200
        assert courier.get("/history/nobodys", bearer(token)).status == 403


def test_closes_are_those_of_the_contract(asyncapi):
    closes = {(close["code"], close["reason"]): close["retry"] for close in asyncapi["x-close-reasons"]}
    assert closes[1000, "Normal closure"] == "no"
    assert closes[1001, "Server shutting down for maintenance"] == "with jitter"
    assert closes[1013, "Slow consumer"] == "later"


def answers_as_described(port: int, examples: int, *more):
    """Valid requests are taken, invalid ones refused, each answer has a described status, type and shape."""
    command = [
        Path(sys.executable).with_name("schemathesis"), "run",
        f"http://127.0.0.1:{port}/openapi.json", "--exclude-path-regex", NOT_ASKED,
        "--max-examples", examples, "--generation-deterministic", "--workers", 1,
        "--request-timeout", 5, "--no-color", "--warnings", "off", *more,
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        told = os.environ | {"SCHEMATHESIS_HOOKS": "describe_hooks", "PYTHONPATH": str(SERVER_TESTS)}
        run = subprocess.run(
            list(map(str, command)), env=told, cwd=folder, capture_output=True, text=True, timeout=RUN_SECONDS
        )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]


def test_server_answers_as_described_whatever_it_is_asked(hub):
    answers_as_described(hub.port, EXAMPLES)


def test_server_that_asks_for_tokens_answers_as_described_too(start_courier):
    """With a good token, and where it is left out or another. A token in the query was once an unknown parameter of a
    purge."""
    courier = start_courier(REQUIRED, config='auth: {rules: [{match: "**", subscribe: true, publish: true}]}\n')
    answers_as_described(courier.port, EXAMPLES_WITH_TOKENS, "--header", f"Authorization: Bearer {mint()}")
