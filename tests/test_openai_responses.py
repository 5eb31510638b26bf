"""The Responses API, and tools that the server runs, through the official openai client.
The small model chooses poorly: calls are forced, and what is asserted is form, the way of
the data and what is computed again, not wisdom."""

import json

import pytest

from conftest import openai_client, serving

CONFIG = """
connectors:
  - name: work
    files: {roots: [{name: docs, path: docs, write: true}]}
"""
LIST = {"type": "mcp", "server_label": "work", "allowed_tools": ["list"]}
MOVE = {"type": "mcp", "server_label": "work", "allowed_tools": ["move"]}
FORCED = {"type": "mcp", "server_label": "work", "name": "list"}


@pytest.fixture(scope="module")
def tools_client(hearth_binary, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tools")
    (folder / "docs").mkdir()
    (folder / "docs" / "chairs-4711.txt").write_text("blue")
    with serving(hearth_binary, folder, CONFIG) as server:
        yield openai_client(server)


def of_type(response, kind):
    return [item for item in response.output if item.type == kind]


def whole(events):
    """The response that the last event holds."""
    assert events[-1].type in ("response.completed", "response.incomplete")
    return events[-1].response


def test_text(client):
    answer = client.responses.create(input="Name a river.", instructions="Answer in one word.", max_output_tokens=8, temperature=0)
    assert answer.status in ("completed", "incomplete") and answer.output_text
    assert answer.usage.input_tokens > 0 and 0 < answer.usage.output_tokens <= 8
    assert answer.store is False and answer.instructions == "Answer in one word."
    # The whole conversation is the input of the next turn.
    follow = [{"role": "user", "content": "Name a river."}, *[i.model_dump() for i in answer.output], {"role": "user", "content": "Another?"}]
    again = client.responses.create(input=follow, max_output_tokens=8, temperature=0)
    assert again.output_text


def test_stream(client):
    """The client's own accumulator takes every event, and ends with the whole."""
    with client.responses.stream(model="", input="Count to five.", max_output_tokens=24, temperature=0) as stream:
        events = list(stream)
    deltas = [e.delta for e in events if e.type == "response.output_text.delta"]
    final = whole(events)
    assert len(deltas) > 1 and "".join(deltas) == final.output_text
    plain = client.responses.create(input="Count to five.", max_output_tokens=24, temperature=0)
    assert plain.status == final.status


def test_schema(client):
    schema = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 99, "minimum": 0}}, "required": ["n"], "additionalProperties": False}
    answer = client.responses.create(
        input="A number as JSON.", max_output_tokens=40, temperature=0, text={"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True}}
    )
    assert 0 <= json.loads(answer.output_text)["n"] <= 99


def test_function(client):
    tool = {"type": "function", "name": "clock", "description": "Tell the time.", "parameters": {"type": "object", "properties": {}}, "strict": False}
    answer = client.responses.create(
        input="What time is it?", tools=[tool], tool_choice={"type": "function", "name": "clock"}, parallel_tool_calls=False, max_output_tokens=60, temperature=0
    )
    [call] = of_type(answer, "function_call")
    assert call.name == "clock" and json.loads(call.arguments) == {} and call.call_id
    given = {"type": "function_call_output", "call_id": call.call_id, "output": "noon"}
    told = client.responses.create(input=[{"role": "user", "content": "What time is it?"}, call.model_dump(), given], tools=[tool], max_output_tokens=16, temperature=0)
    assert told.usage.input_tokens > answer.usage.input_tokens


def test_hosted_tool(tools_client):
    """The server calls the tool, and each round computes what is new."""
    answer = tools_client.responses.create(
        input="Which files are there?", tools=[LIST], tool_choice=FORCED, parallel_tool_calls=False, max_output_tokens=200, temperature=0
    )
    [offered] = of_type(answer, "mcp_list_tools")
    assert [t.name for t in offered.tools] == ["list"] and offered.server_label == "work"
    calls = of_type(answer, "mcp_call")
    assert calls and calls[0].name == "list" and isinstance(json.loads(calls[0].arguments), dict)
    assert calls[0].output or calls[0].error
    rounds = answer.usage.model_dump()["rounds"]
    assert len(rounds) >= 2
    # What the first round computed and wrote is not computed again, up to where the template begins the next message.
    assert rounds[1]["cached_tokens"] >= rounds[0]["prompt_tokens"] - 8
    assert answer.usage.input_tokens == sum(r["prompt_tokens"] for r in rounds)


def test_hosted_tool_in_a_stream(tools_client):
    with tools_client.responses.stream(
        model="", input="Which files are there?", tools=[LIST], tool_choice=FORCED, parallel_tool_calls=False, max_output_tokens=120, temperature=0
    ) as stream:
        events = list(stream)
    kinds, final = [e.type for e in events], whole(events)
    assert kinds[0] == "response.created" and kinds[-1] in ("response.completed", "response.incomplete")
    for kind in ("response.mcp_list_tools.completed", "response.mcp_call.in_progress", "response.mcp_call_arguments.done"):
        assert kind in kinds
    assert "response.mcp_call.completed" in kinds or "response.mcp_call.failed" in kinds
    assert of_type(final, "mcp_call")


def test_hosted_tool_in_a_chat(tools_client):
    answer = tools_client.chat.completions.create(
        model="", messages=[{"role": "user", "content": "Which files are there?"}], tools=[LIST], tool_choice="required",
        parallel_tool_calls=False, max_tokens=120, temperature=0,
    )
    [choice] = answer.choices
    calls = choice.message.model_dump()["mcp_calls"]
    assert calls[0]["server_label"] == "work" and calls[0]["status"] in ("completed", "failed")
    assert not choice.message.tool_calls


def test_approval(tools_client):
    """A call that writes waits; approved, it is the very call that runs."""
    ask = "Rename docs/a.txt to docs/b.txt."
    first = tools_client.responses.create(input=ask, tools=[MOVE], tool_choice="required", parallel_tool_calls=False, max_output_tokens=300, temperature=0)
    assert of_type(first, "mcp_approval_request"), first.output
    [wants] = of_type(first, "mcp_approval_request")
    assert not of_type(first, "mcp_call")
    said = [{"role": "user", "content": ask}, *[i.model_dump() for i in first.output]]
    for approve in (False, True):
        answer = {"type": "mcp_approval_response", "approval_request_id": wants.id, "approve": approve}
        told = tools_client.responses.create(input=[*said, answer], tools=[MOVE], tool_choice="none", max_output_tokens=16, temperature=0)
        calls = of_type(told, "mcp_call")
        assert [c.arguments for c in calls] == ([wants.arguments] if approve else [])


def test_what_cannot_be(tools_client):
    import openai

    for body, says in (
        ({"input": "x", "tools": [{"type": "mcp", "server_label": "mail"}]}, 'there is no connector "mail" here'),
        ({"input": "x", "tools": [{"type": "mcp", "server_label": "work", "allowed_tools": ["sing"]}]}, 'has no tool "sing"'),
        ({"input": "x", "tools": [{"type": "mcp", "server_label": "x", "server_url": "http://127.0.0.1"}]}, "stands in its configuration"),
        ({"input": "x", "previous_response_id": "resp_1"}, "send the whole conversation"),
    ):
        with pytest.raises(openai.BadRequestError, match=says):
            tools_client.responses.create(**body)
