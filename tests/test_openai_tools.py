"""Tool calls through the official openai client. The small model has no template for
tools and chooses poorly: what is asserted is form and enforcement, not wisdom."""

import json

import pytest

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Look up the weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "get_time", "description": "Tell the time of day.", "parameters": {"type": "object", "properties": {}}}}
ASK = [{"role": "user", "content": "What is the weather in Paris, in celsius?"}]


def check_weather(call):
    assert call.type == "function" and call.id
    assert call.function.name == "get_weather"
    arguments = json.loads(call.function.arguments)
    assert set(arguments) == {"city", "unit"} and arguments["unit"] in ("celsius", "fahrenheit")


def test_required(client, model):
    answer = client.chat.completions.create(model=model, messages=ASK, tools=[WEATHER], tool_choice="required", max_tokens=120, temperature=0)
    [choice] = answer.choices
    # A model of this size may repeat the call until the tokens are used up.
    assert choice.finish_reason in ("tool_calls", "length")
    assert choice.message.tool_calls
    for call in choice.message.tool_calls:
        check_weather(call)
    assert len({call.id for call in choice.message.tool_calls}) == len(choice.message.tool_calls)


def test_named(client, model):
    answer = client.chat.completions.create(
        model=model, messages=ASK, tools=[CLOCK, WEATHER], tool_choice={"type": "function", "function": {"name": "get_weather"}}, max_tokens=120, temperature=0
    )
    for call in answer.choices[0].message.tool_calls:
        check_weather(call)


def test_one_call_at_a_time(client, model):
    answer = client.chat.completions.create(
        model=model, messages=ASK, tools=[WEATHER], tool_choice="required", parallel_tool_calls=False, max_tokens=300, temperature=0
    )
    [choice] = answer.choices
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls
    check_weather(call)


def test_streamed_deltas(client, model):
    calls, reasons = {}, []
    stream = client.chat.completions.create(
        model=model, messages=ASK, tools=[WEATHER], tool_choice="required", parallel_tool_calls=False, max_tokens=300, temperature=0, stream=True
    )
    for chunk in stream:
        [choice] = chunk.choices
        reasons.append(choice.finish_reason)
        for delta in choice.delta.tool_calls or []:
            assert isinstance(delta.index, int)
            call = calls.setdefault(delta.index, {"id": [], "name": [], "arguments": ""})
            if delta.id:
                call["id"].append(delta.id)
            if delta.function.name:
                call["name"].append(delta.function.name)
            call["arguments"] += delta.function.arguments or ""
    assert reasons[-1] == "tool_calls" and not any(reasons[:-1])
    assert calls and sorted(calls) == list(range(len(calls)))
    for call in calls.values():
        assert len(call["id"]) == 1 and call["name"] == ["get_weather"]
        assert set(json.loads(call["arguments"])) == {"city", "unit"}


@pytest.mark.parametrize("stream", [False, True])
def test_auto_loses_nothing(client, model, stream):
    options = dict(model=model, messages=ASK, tools=[WEATHER, CLOCK], tool_choice="auto", max_tokens=120, temperature=0)
    if stream:
        content, names, arguments, reason = "", {}, {}, None
        for chunk in client.chat.completions.create(**options, stream=True):
            [choice] = chunk.choices
            content += choice.delta.content or ""
            reason = choice.finish_reason or reason
            for delta in choice.delta.tool_calls or []:
                names[delta.index] = names.get(delta.index) or delta.function.name
                arguments[delta.index] = arguments.get(delta.index, "") + (delta.function.arguments or "")
        calls = [(names[i], arguments[i]) for i in sorted(names)]
    else:
        [choice] = client.chat.completions.create(**options).choices
        content, reason = choice.message.content, choice.finish_reason
        calls = [(c.function.name, c.function.arguments) for c in choice.message.tool_calls or []]
    assert content or calls
    assert reason in ("tool_calls", "stop", "length")
    assert reason != "tool_calls" or calls
    for name, text in calls:
        assert name in ("get_weather", "get_time")
        if reason != "length":  # which may cut the last call
            json.loads(text)


def test_tools_are_in_the_prompt(client, model):
    def prompt_tokens(**options):
        return client.chat.completions.create(model=model, messages=ASK, max_tokens=1, **options).usage.prompt_tokens

    without = prompt_tokens()
    one, two = prompt_tokens(tools=[WEATHER]), prompt_tokens(tools=[WEATHER, CLOCK])
    assert without + 40 < one < two


def test_none(client, model):
    answer = client.chat.completions.create(model=model, messages=ASK, tools=[WEATHER], tool_choice="none", max_tokens=30, temperature=0)
    assert not answer.choices[0].message.tool_calls and answer.choices[0].message.content


def test_result_of_a_tool_comes_back(client, model):
    asked = client.chat.completions.create(
        model=model, messages=ASK, tools=[WEATHER], tool_choice="required", parallel_tool_calls=False, max_tokens=300, temperature=0
    ).choices[0].message
    result = {"role": "tool", "tool_call_id": asked.tool_calls[0].id, "content": '{"sky": "clear", "degrees": 21}'}
    messages = [*ASK, asked.model_dump(exclude_none=True), result]
    shorter = client.chat.completions.create(model=model, messages=ASK, tools=[WEATHER], tool_choice="none", max_tokens=1).usage.prompt_tokens
    answer = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER], tool_choice="none", max_tokens=40, temperature=0)
    assert answer.choices[0].message.content.strip()
    assert answer.usage.prompt_tokens > shorter + 20  # the call and its result are both there
