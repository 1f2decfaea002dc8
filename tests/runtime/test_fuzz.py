"""Whatever is sent, the answer says what is wrong with it: bytes, JSON, and what the OpenAPI document allows."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerforge_runtime.requests import PredictionRequest, RequestError, parse_request
from tests.runtime.differential import MODEL
from tests.runtime.harness import Serve, Server, write_model

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
ANY = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=6)
MEMBERS = st.sampled_from([*PredictionRequest.__struct_fields__, "more"])


@settings(deadline=None)
@given(st.binary() | st.text().map(str.encode) | ANY.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_request_or_say_why_not(body: bytes) -> None:
    try:
        request, inputs = parse_request(body)
    except RequestError as error:
        assert error.status in (400, 422)
        for problem in json.loads(error.body)["detail"]:
            assert problem["loc"][0] == "body" and problem["msg"] and problem["type"]
    else:
        assert isinstance(request, PredictionRequest)
        assert isinstance(inputs, dict)


@settings(deadline=None)
@given(st.dictionaries(MEMBERS, ANY))
def test_any_envelope_is_a_request_or_names_a_member(envelope: dict[str, Any]) -> None:
    try:
        parse_request(json.dumps(envelope).encode())
    except RequestError as error:
        locations = [each["loc"] for each in json.loads(error.body)["detail"]]
        assert all(len(each) == 1 or each[1] in envelope for each in locations)


@pytest.fixture(scope="module")
def server(start_server: Serve, tmp_path_factory: pytest.TempPathFactory) -> Server:
    folder = tmp_path_factory.mktemp("model")
    write_model(folder, MODEL)
    return start_server(folder)


@pytest.fixture(scope="module")
def schema(server: Server) -> dict[str, Any]:
    components: dict[str, Any] = server.request("GET", "/openapi.json").json["components"]["schemas"]
    return components


TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def values(schema: dict[str, Any], schemas: dict[str, Any]) -> st.SearchStrategy[Any]:
    """What a schema of an input allows."""
    if "allOf" in schema:
        return values(schemas[schema["allOf"][0]["$ref"].rpartition("/")[2]], schemas)
    found: st.SearchStrategy[Any]
    if "enum" in schema:
        found = st.sampled_from(schema["enum"])
    elif "anyOf" in schema:
        found = st.one_of([values(each, schemas) for each in schema["anyOf"]])
    elif schema.get("format") == "uri":
        found = TEXT.map(lambda text: f"data:text/plain;base64,{base64.b64encode(text.encode()).decode()}")
    elif schema.get("pattern"):
        found = st.from_regex(schema["pattern"], fullmatch=True).filter(
            lambda text: schema["minLength"] <= len(text) <= schema["maxLength"]
        )
    else:
        kinds: dict[str, st.SearchStrategy[Any]] = {
            "string": TEXT,
            "boolean": st.booleans(),
            "integer": st.integers(schema.get("minimum"), schema.get("maximum")),
            "number": st.floats(schema.get("minimum"), schema.get("maximum"), allow_nan=False, allow_infinity=False),
            "array": st.deferred(lambda: st.lists(values(schema["items"], schemas), max_size=3)),
            "object": st.dictionaries(TEXT, st.none() | st.integers() | TEXT, max_size=3),
        }
        found = kinds[schema["type"]]
    return st.none() | found if schema.get("nullable") else found


@pytest.fixture(scope="module")
def connection(server: Server) -> Iterator[http.client.HTTPConnection]:
    connection = server.connect()
    yield connection
    connection.close()


def ask(connection: http.client.HTTPConnection, body: bytes) -> tuple[int, Any]:
    connection.request("POST", "/predictions", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert response.headers["content-type"] == "application/json"
    return response.status, json.loads(response.read())


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_the_document_allows_is_accepted(
    connection: http.client.HTTPConnection, schema: dict[str, Any], data: st.DataObject
) -> None:
    properties = schema["Input"]["properties"]
    names = data.draw(st.sets(st.sampled_from(sorted(properties.keys() - {"fail"}))))
    inputs = {name: data.draw(values(properties[name], schema), label=name) for name in sorted(names)}
    status, answer = ask(connection, json.dumps({"input": inputs}).encode())
    assert (status, answer["status"]) == (200, "succeeded"), (inputs, answer)
    shown = {name: value for name, value in inputs.items() if name not in ("image", "images")}
    assert {name: answer["output"][name] for name in shown} == shown


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_it_does_not_allow_is_refused_with_the_name(
    connection: http.client.HTTPConnection, schema: dict[str, Any], data: st.DataObject
) -> None:
    names = st.sampled_from(sorted(schema["Input"]["properties"].keys() - {"fail"}))
    inputs = data.draw(st.dictionaries(names | st.text(max_size=3), ANY, max_size=4))
    status, answer = ask(connection, json.dumps({"input": inputs}).encode())
    if status == 200:
        assert answer["status"] == "succeeded" or answer["error"].startswith("Input validation error: image")
    else:
        assert status in (400, 422)
        named = [each["loc"][2] for each in answer["detail"] if len(each["loc"]) > 2]
        assert set(named) <= set(inputs)
