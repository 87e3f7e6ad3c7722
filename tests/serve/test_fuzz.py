"""The OpenAPI description, tried out by schemathesis: no server error, and every answer is as described."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from served import served

from kivuko.serve.guard import LARGEST_HEAD, Settings

schemathesis = pytest.importorskip("schemathesis")

import requests  # noqa: E402
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

EXAMPLES = 20  # of each operation and mode
NO_HTTP = "Invalid HTTP request received."
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
OPERATIONS = (
    ("/api/search", "POST"), ("/api/search", "GET"), ("/api/search/batch", "POST"), ("/api/search/image", "POST"),
    ("/api/align", "POST"), ("/api/items/{id}", "GET"), ("/api/items/{id}/like", "GET"),
    ("/api/items/{id}/thumbnail", "GET"), ("/api/about", "GET"), ("/health", "GET"), ("/metrics", "GET"),
)  # fmt: skip


@pytest.fixture(scope="module")
def described(searcher):
    with served(searcher, Settings(max_upload=2**18)) as address:
        yield schemathesis.openapi.from_url(f"{address}/openapi.json")


def _head(case):
    """Return how many bytes a request's line and headers have, about."""
    arguments = case.as_transport_kwargs()
    prepared = requests.Request(
        arguments["method"], arguments["url"], arguments.get("headers"), params=arguments.get("params")
    ).prepare()
    return len(prepared.url) + sum(len(name) + len(value) + 4 for name, value in prepared.headers.items())


def test_every_operation_is_tried(described):
    paths = described.raw_schema["paths"]
    assert set(OPERATIONS) == {(path, method.upper()) for path, own in paths.items() for method in own}


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_the_server_stands_whatever_the_description_allows_or_forbids(described, path, method, mode):
    operation = described[path][method]
    strategy = operation.as_strategy(generation_mode=mode)

    @given(case=strategy)
    @settings(
        max_examples=EXAMPLES, deadline=None, phases=(Phase.explicit, Phase.generate), derandomize=True,
        database=None, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def tried(case):
        try:
            response = case.call(timeout=60)
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            # The server answers as soon as a head is too long, and hangs up; what is still sent is met by a reset,
            # which may overtake the answer.
            assert _head(case) > LARGEST_HEAD
            return
        if response.status_code == 400 and response.text == NO_HTTP:
            return  # by the HTTP library, of what no application sees
        case.validate_response(response, checks=CHECKS)

    try:
        tried()
    except Exception as problem:
        nothing = "Unsatisfiable" in type(problem).__name__
        if mode is not schemathesis.GenerationMode.NEGATIVE or not nothing:
            raise  # nothing is forbidden where there is no parameter; something is always allowed
