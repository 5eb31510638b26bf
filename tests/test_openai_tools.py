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
    answer = client.chat.completions.create(model=model, messages=ASK, tools=[WEATHER], tool_choice="required", max_tokens=300, temperature=0)
    [choice] = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls
    for call in choice.message.tool_calls:
        check_weather(call)


def test_named(client, model):
    answer = client.chat.completions.create(
        model=model, messages=ASK, tools=[CLOCK, WEATHER], tool_choice={"type": "function", "function": {"name": "get_weather"}}, max_tokens=300, temperature=0
    )
    [call] = answer.choices[0].message.tool_calls
    check_weather(call)


def test_one_call_at_a_time(client, model):
    answer = client.chat.completions.create(
        model=model, messages=ASK, tools=[WEATHER], tool_choice="required", parallel_tool_calls=False, max_tokens=300, temperature=0
    )
    assert len(answer.choices[0].message.tool_calls) == 1


def test_streamed_deltas(client, model):
    calls, reasons = {}, []
    stream = client.chat.completions.create(model=model, messages=ASK, tools=[WEATHER], tool_choice="required", max_tokens=300, temperature=0, stream=True)
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
        with client.chat.completions.stream(**options) as events:
            for _ in events:
                pass
            answer = events.get_final_completion()
    else:
        answer = client.chat.completions.create(**options)
    [choice] = answer.choices
    assert choice.message.content or choice.message.tool_calls
    for call in choice.message.tool_calls or []:
        assert call.function.name in ("get_weather", "get_time")
        json.loads(call.function.arguments)
    assert choice.finish_reason in (("tool_calls",) if choice.message.tool_calls else ("stop", "length"))


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
    shorter = client.chat.completions.create(model=model, messages=ASK, tools=[WEATHER], max_tokens=1, temperature=0).usage.prompt_tokens
    answer = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER], tool_choice="none", max_tokens=40, temperature=0)
    assert answer.choices[0].message.content.strip()
    assert answer.usage.prompt_tokens > shorter + 20  # the call and its result are both there
