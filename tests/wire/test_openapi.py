"""OpenAPI v2 documents in the binary form."""

from pybernetes.wire import openapi
from pybernetes.wire.protobuf.varint import fields


def read(data):
    found = {}
    for number, _, value in fields(data):
        found.setdefault(number, []).append(value)
    return found


def test_a_document():
    foo = {
        "type": "object", "description": "ü", "required": ["a"], "x-kubernetes-map-type": "atomic",
        "properties": {
            "a": {"type": "string", "maxLength": 3, "default": {"b": 1}},
            "b": {"type": "array", "items": {"$ref": "#/definitions/Bar"}},
            "c": {"type": "object", "additionalProperties": {"type": "number", "minimum": 1.5}},
        },
    }  # fmt: skip
    operation = {
        "operationId": "readFoo",
        "parameters": [
            {"name": "body", "in": "body", "required": True, "schema": {"$ref": "#/definitions/Foo"}},
            {"name": "watch", "in": "query", "type": "boolean", "uniqueItems": True},
            {"name": "name", "in": "path", "type": "string", "required": True},
        ],
        "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/Foo"}}},
        "x-kubernetes-action": "get",
    }
    document = {
        "swagger": "2.0", "info": {"title": "T", "version": "1"}, "paths": {"/foo/": {"get": operation}},
        "definitions": {"Foo": foo}, "security": [{"BearerToken": []}],
        "securityDefinitions": {"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header"}},
    }  # fmt: skip
    top = read(openapi.encode(document))
    assert top[1] == [b"2.0"] and read(top[2][0]) == {1: [b"T"], 2: [b"1"]}
    (named,) = read(top[8][0])[2]
    assert read(named)[1] == [b"/foo/"]
    get = read(read(read(named)[2][0])[2][0])
    assert get[5] == [b"readFoo"] and len(get[8]) == 3
    body, query, path = (read(read(p)[1][0]) for p in get[8])
    assert read(body[1][0]) | {5: 0} == {2: [b"body"], 3: [b"body"], 4: [1], 5: 0}
    assert list(read(query[2][0])) == [3] and list(read(path[2][0])) == [4]
    assert read(get[13][0])[1] == [b"x-kubernetes-action"] and read(read(get[13][0])[2][0])[2] == [b'"get"\n']
    (named,) = read(top[9][0])[1]
    schema = read(read(named)[2][0])
    assert schema[4] == ["ü".encode()] and schema[19] == [b"a"] and read(schema[22][0])[1] == [b"object"]
    properties = {read(p)[1][0]: read(read(p)[2][0]) for p in read(schema[25][0])[1]}
    assert properties[b"a"][11] == [3] and read(properties[b"a"][5][0])[2] == [b'{"b":1}\n']
    assert read(read(properties[b"b"][23][0])[1][0])[1] == [b"#/definitions/Bar"]
    assert read(read(properties[b"c"][21][0])[1][0])[9] == [b"\x00\x00\x00\x00\x00\x00\xf8?"]
    assert read(read(read(top[13][0])[1][0])[2][0])[2]
