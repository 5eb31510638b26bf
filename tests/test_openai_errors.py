"""What the official openai client sees of a request that cannot be served."""

import contextlib
import http.client
import json
import urllib.error
import urllib.request

import openai
import pytest
from conftest import REQUEST_TIMEOUT

ASK = [{"role": "user", "content": "Hello"}]


def test_unknown_model(client, model):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-none", messages=ASK)
    error = caught.value
    assert error.status_code == 404
    assert error.code == "model_not_found"
    assert error.type == "invalid_request_error"
    assert "gpt-none" in error.message and model in error.message


@pytest.mark.parametrize("stream", [False, True])
def test_overflow_names_the_numbers(client, server, model, stream):
    prompt = "one two three four five six seven eight nine ten " * 2000
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": prompt}], stream=stream)
    error = caught.value
    assert error.code == "context_length_exceeded"
    tokens = server.json("POST", "/v1/tokenize", {"model": model, "text": prompt, "add_special": False})["tokens"]
    numbers = [int(word) for word in error.message.replace(",", " ").replace(":", " ").split() if word.isdigit()]
    assert any(n >= len(tokens) for n in numbers), f"the prompt's {len(tokens)} tokens are not in: {error.message}"


def test_answer_that_does_not_fit(client, model):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=model, messages=ASK, max_tokens=10_000_000)
    assert caught.value.code == "context_length_exceeded"


@pytest.mark.parametrize(
    "field, value",
    [
        ("temperature", -1),
        ("temperature", "warm"),
        ("top_p", 2),
        ("n", 0),
        ("n", 10_000),
        ("max_tokens", 0),
        ("presence_penalty", 3),
        ("top_logprobs", 21),
        ("stop", ["a", "b", "c", "d", "e"] * 10),
        ("logit_bias", {"50": 500}),
        ("seed", "lucky"),
        ("tool_choice", "sometimes"),
        ("response_format", {"type": "xml"}),
        ("messages", []),
        ("messages", [{"role": "wizard", "content": "x"}]),
    ],
)
def test_wrong_parameter(client, model, field, value):
    body = {"model": model, "messages": ASK, field: value}
    if field == "top_logprobs":
        body["logprobs"] = True
    if field == "tool_choice":
        body["tools"] = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/chat/completions", body=body, cast_to=object)
    error = caught.value
    assert error.type == "invalid_request_error"
    assert error.param and error.param.startswith(field)
    assert error.message


def test_impossible_schema(client, model):
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/missing"}}, "required": ["a"]}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=model, messages=ASK, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
    assert "response_format" in (caught.value.param or "")


@pytest.mark.parametrize("field", ["guided_regex", "guided_grammar", "min_tokens"])
def test_constraint_that_is_not_enforced_is_refused(client, model, field):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=model, messages=ASK, max_tokens=1, extra_body={field: "[a-z]+" if field != "min_tokens" else 5})
    assert caught.value.param == field


def test_fields_without_effect_are_tolerated(client, model):
    client.chat.completions.create(model=model, messages=ASK, max_tokens=1, user="me", metadata={"a": "b"}, store=False, service_tier="auto")


def test_bodies_that_are_no_request(server):
    for body in ("{", "[]", "null", '{"model":1}', '{"messages":[],"messages":[]}'):
        status, _, text = send(server, body)
        assert status == 400, f"{body}: {status} {text}"
        assert json.loads(text)["error"]["type"] == "invalid_request_error"


def test_body_that_is_too_large(server):
    # Refused by its announced length: a client that waits is told before it sends.
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=REQUEST_TIMEOUT)
    with contextlib.closing(connection):
        connection.putrequest("POST", "/v1/chat/completions")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(9 << 20))
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.status == 413
        assert json.loads(answer.read())["error"]["message"]


def test_unknown_path_and_method(server):
    assert server.request("GET", "/v1/nothing")[0] == 404
    assert server.request("GET", "/v1/chat/completions")[0] == 405


def send(server, text):
    request = urllib.request.Request(server.url + "/v1/chat/completions", data=text.encode(), headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()
