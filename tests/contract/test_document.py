"""The OpenAPI file by itself, and against the tables of the source."""
import re

import jsonschema

from api import METHODS, SOURCE

MODEL = SOURCE / "src/model"


def test_every_route_is_described_and_nothing_else(document):
    table = re.findall(r'\{Route::\w+,\s*"(\w+)",\s*"([^"]+)",\s*"(\w+)",\s*Access::\w+\}', (MODEL / "routes.cpp").read_text())
    assert table
    described = {(method, path, operation) for operation, (method, path, _) in document.operations.items()}
    assert described == {(method, path.replace("{path...}", "{path}"), operation) for method, path, operation in table}


def test_every_error_code_is_described(document):
    table = dict(re.findall(r'\{"(\w+)",\s+(\d{3}),', (MODEL / "error_code.cpp").read_text()))
    assert table
    assert set(document.json["components"]["schemas"]["ErrorCode"]["enum"]) == set(table)
    for name, response in document.json["components"]["responses"].items():
        codes = response["content"]["application/json"]["schema"]["allOf"][1]["properties"]["error"]["properties"]["code"]["enum"]
        assert len({table[code] for code in codes}) == 1, name


def test_error_responses_stand_at_their_status(document):
    table = dict(re.findall(r'\{"(\w+)",\s+(\d{3}),', (MODEL / "error_code.cpp").read_text()))
    for operation, (_, _, described) in document.operations.items():
        for status, response in described["responses"].items():
            if int(status) < 400:
                continue
            schema = document.resolve(response)["content"]["application/json"]["schema"]
            for code in schema["allOf"][1]["properties"]["error"]["properties"]["code"]["enum"]:
                assert table[code] == status, f"{operation}: {code}"


def test_schemas_are_schemas_and_references_lead_somewhere(document):
    def walk(node):
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                document.resolve(node)
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)
    walk(document.json)
    for schema in document.json["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_requests_are_closed(document):
    def walk(schema, where):
        schema = document.resolve(schema)
        if schema.get("type") == "object":
            assert "additionalProperties" in schema, f"{where} takes any member"
        for name, member in schema.get("properties", {}).items():
            walk(member, f"{where}.{name}")
        for part in schema.get("anyOf", []):
            walk(part, where)
        if "items" in schema:
            walk(schema["items"], where + "[]")
    for operation in document.operations:
        if schema := document.request_schema(operation):
            walk(schema, operation)


def test_examples_fit_their_schemas(document):
    for name, schema in document.json["components"]["schemas"].items():
        for example in schema.get("examples", []):
            document.validator(schema, is_answer=False).validate(example)
    for operation, (_, _, described) in document.operations.items():
        content = described.get("requestBody", {}).get("content", {}).get("application/json", {})
        if "example" in content:
            assert document.accepts(operation, content["example"]), operation


def test_path_parameters_are_described(document):
    for operation, (method, path, described) in document.operations.items():
        named = {p["name"] for p in map(document.resolve, described.get("parameters", [])) if p["in"] == "path"}
        assert named == set(re.findall(r"\{(\w+)\}", path)), operation
        assert method.lower() in METHODS


def test_every_operation_has_succeeded(document):
    """The last one: no operation is described whose success no test has seen and compared with its description."""
    assert set(document.operations) - document.succeeded == set()
