"""Chat and completions through the official openai client."""

import asyncio
import json
import math

import openai
import pydantic
import pytest
from conftest import REQUEST_TIMEOUT

ASK = [{"role": "user", "content": "Name three rivers in Europe and say one thing about each."}]
BRIEF = [{"role": "user", "content": "Answer with one word: yes or no?"}]


def test_models(client, model):
    listed = client.models.list().data
    assert [m.object for m in listed] == ["model"]
    assert client.models.retrieve(model).id == model
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


def test_chat(client, model):
    answer = client.chat.completions.create(model=model, messages=ASK, max_tokens=32, temperature=0)
    assert answer.object == "chat.completion"
    assert answer.model == model
    [choice] = answer.choices
    assert choice.message.role == "assistant"
    assert choice.message.content.strip()
    assert choice.finish_reason == "length"
    assert answer.usage.completion_tokens == 32
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 32
    assert answer.usage.prompt_tokens_details.cached_tokens < answer.usage.prompt_tokens


def test_stream_is_the_answer_in_pieces(exact_client, model):
    options = dict(model=model, messages=ASK, max_tokens=32, temperature=0)
    whole = exact_client.chat.completions.create(**options).choices[0].message.content
    chunks = list(exact_client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True}))
    pieces = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    assert "".join(pieces) == whole
    assert sum(1 for p in pieces if p) > 8
    assert chunks[0].choices[0].delta.role == "assistant"
    assert {c.id for c in chunks} == {chunks[0].id}
    assert {c.object for c in chunks} == {"chat.completion.chunk"}
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert reasons[-1] == "length" and not any(reasons[:-1])
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 32
    assert all(c.usage is None for c in chunks[:-1])


def test_stream_has_no_usage_unless_asked(client, model):
    chunks = list(client.chat.completions.create(model=model, messages=ASK, max_tokens=4, stream=True))
    assert all(c.usage is None and c.choices for c in chunks)


def test_stream_helper(client, model):
    with client.chat.completions.stream(model=model, messages=BRIEF, max_tokens=400, temperature=0) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert "".join(deltas) == final.choices[0].message.content


def test_max_completion_tokens_and_ends(client, model):
    short = client.chat.completions.create(model=model, messages=ASK, max_completion_tokens=3, temperature=0)
    assert short.usage.completion_tokens == 3
    done = client.chat.completions.create(model=model, messages=BRIEF, max_tokens=400, temperature=0)
    assert done.choices[0].finish_reason == "stop"


def test_stop_strings_are_left_out(exact_client, model):
    options = dict(model=model, messages=ASK, max_tokens=48, temperature=0)
    text = exact_client.chat.completions.create(**options).choices[0].message.content
    stop = text[20:26]  # wherever the borders of the tokens are
    for stream in (False, True):
        answer = exact_client.chat.completions.create(**options, stop=[stop], stream=stream)
        if stream:
            chunks = [c.choices[0] for c in answer]
            got, reason = "".join(c.delta.content or "" for c in chunks), chunks[-1].finish_reason
        else:
            got, reason = answer.choices[0].message.content, answer.choices[0].finish_reason
        assert got == text[: text.index(stop)]
        assert reason == "stop"


def test_choices_share_one_prefill(client, model):
    prompt = "Tell me a joke about a cat, a dog and a bird. " * 4
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": prompt}], n=3, max_tokens=12, temperature=1.0, seed=3)
    assert [c.index for c in answer.choices] == [0, 1, 2]
    assert len({c.message.content for c in answer.choices}) > 1
    assert answer.usage.completion_tokens <= 36
    seen = {}
    for chunk in client.chat.completions.create(model=model, messages=ASK, n=2, max_tokens=8, temperature=1.0, stream=True):
        for c in chunk.choices:
            seen.setdefault(c.index, []).append(c)
    assert sorted(seen) == [0, 1]
    for choices in seen.values():
        assert [c.finish_reason for c in choices if c.finish_reason] == ["length"]


def test_seed_repeats(client, model):
    def ask(seed):
        # what others left in the cache must not show
        client.chat.completions.create(model=model, messages=ASK, max_tokens=8 + seed, temperature=1.2)
        return client.chat.completions.create(model=model, messages=ASK, max_tokens=24, temperature=1.2, seed=seed).choices[0].message.content

    assert ask(7) == ask(7)
    assert len({ask(seed) for seed in range(4)}) > 1


def test_logprobs(exact_client, model):
    answer = exact_client.chat.completions.create(model=model, messages=ASK, max_tokens=10, temperature=0, logprobs=True, top_logprobs=4)
    [choice] = answer.choices
    tokens = choice.logprobs.content
    assert len(tokens) == answer.usage.completion_tokens == 10
    assert b"".join(bytes(t.bytes) for t in tokens).decode() == choice.message.content
    for t in tokens:
        likely = [top.logprob for top in t.top_logprobs]
        assert len(likely) == 4 and likely == sorted(likely, reverse=True)
        assert t.logprob == likely[0] <= 0  # greedy takes the likeliest
        assert sum(map(math.exp, likely)) <= 1.0001
    streamed = []
    for chunk in exact_client.chat.completions.create(model=model, messages=ASK, max_tokens=10, temperature=0, logprobs=True, stream=True):
        if chunk.choices and chunk.choices[0].logprobs:
            streamed += chunk.choices[0].logprobs.content
    assert [t.token for t in streamed] == [t.token for t in tokens]


def test_logit_bias(client, model, server):
    [token] = server.json("POST", "/v1/tokenize", {"model": model, "text": " Paris", "add_special": False})["tokens"]
    options = dict(model=model, prompt="The capital of France is", max_tokens=1, temperature=0)
    assert client.completions.create(**options).choices[0].text == " Paris"
    assert client.completions.create(**options, logit_bias={str(token): -100}).choices[0].text != " Paris"


class Person(pydantic.BaseModel):
    name: str
    age: int
    mood: str = pydantic.Field(json_schema_extra={"enum": ["calm", "cheerful"]})


def test_json_schema_through_parse(client, model):
    answer = client.chat.completions.parse(
        model=model, messages=[{"role": "user", "content": "Invent a person as JSON."}], response_format=Person, max_tokens=200, temperature=0
    )
    [choice] = answer.choices
    assert choice.finish_reason == "stop"
    assert choice.message.parsed.mood in ("calm", "cheerful")
    assert set(json.loads(choice.message.content)) == {"name", "age", "mood"}


def test_json_object(client, model):
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": 'Answer with this JSON: {"a": 1}'}], response_format={"type": "json_object"}, max_tokens=200, temperature=0
    )
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(answer.choices[0].message.content), dict)
    else:
        assert answer.choices[0].message.content.lstrip().startswith("{")


def test_second_identical_prompt_is_cached(client, model):
    messages = [{"role": "user", "content": "Keep this in mind: " + " ".join(f"item {i} is {i * 7 % 13}," for i in range(60))}]
    first = client.chat.completions.create(model=model, messages=messages, max_tokens=8, temperature=0)
    second = client.chat.completions.create(model=model, messages=messages, max_tokens=8, temperature=0)
    assert first.usage.prompt_tokens_details.cached_tokens < first.usage.prompt_tokens / 2
    assert second.usage.prompt_tokens_details.cached_tokens == second.usage.prompt_tokens - 1


def test_completions(exact_client, model):
    options = dict(model=model, prompt="Once upon a time", max_tokens=12, temperature=0)
    answer = exact_client.completions.create(**options, logprobs=2)
    [choice] = answer.choices
    assert answer.object == "text_completion"
    assert choice.finish_reason == "length" and answer.usage.completion_tokens == 12
    assert len(choice.logprobs.tokens) == len(choice.logprobs.token_logprobs) == 12
    assert "".join(choice.logprobs.tokens) == choice.text
    pieces = "".join(c.choices[0].text for c in exact_client.completions.create(**options, stream=True))
    assert pieces == choice.text
    assert exact_client.completions.create(**options, echo=True).choices[0].text == "Once upon a time" + choice.text


def test_many_async_streams(server, model):
    async def ask(async_client, i):
        stream = await async_client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": f"Count to {i + 5}."}], max_tokens=16, temperature=0, stream=True
        )
        return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

    async def all_of_them():
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=REQUEST_TIMEOUT) as async_client:
            return await asyncio.gather(*(ask(async_client, i) for i in range(12)))

    answers = asyncio.run(all_of_them())
    assert len(answers) == 12 and all(answers)
    server.wait_idle()


def test_tokens_there_and_back(server, model):
    text = "Zwölf Boxkämpfer, 🦊 and <|im_end|>."
    tokens = server.json("POST", "/v1/tokenize", {"model": model, "text": text, "add_special": False})["tokens"]
    assert server.json("POST", "/v1/detokenize", {"model": model, "tokens": tokens})["text"] == text


def test_count_tokens_is_what_the_prompt_has(client, server, model):
    counted = server.json("POST", "/v1/count_tokens", {"model": model, "messages": ASK})
    answer = client.chat.completions.create(model=model, messages=ASK, max_tokens=1)
    assert counted["count"] == answer.usage.prompt_tokens


def test_text_is_cut_at_characters_only(client, model):
    messages = [{"role": "user", "content": "Repeat exactly: 🦊🐻🦉 żółć 你好"}]
    for chunk in client.chat.completions.create(model=model, messages=messages, max_tokens=40, temperature=1.5, seed=1, stream=True):
        if chunk.choices:
            assert "\ufffd" not in (chunk.choices[0].delta.content or "")
