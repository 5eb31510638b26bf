"""The MCP endpoint through the official mcp client, over HTTP and over stdio, in the
protocol with a handshake and in the one without."""

import contextlib
import json

import anyio
import jsonschema
import pytest
from conftest import environment, model_file
from mcp import Client, MCPError, StdioServerParameters

pytestmark = pytest.mark.anyio

TRANSPORTS = ["http-2026-07-28", "http-handshake", "stdio-2026-07-28", "stdio-handshake"]


@pytest.fixture(params=TRANSPORTS)
def connect(request, server, hearth_binary):
    """A function that opens a client over one transport in one protocol."""
    transport, era = request.param.split("-", 1)
    if transport == "http":
        target = server.url + "/mcp"
    else:
        target = StdioServerParameters(command=str(hearth_binary), args=["mcp", "--model", str(model_file())], env=environment())
    mode = "legacy" if era == "handshake" else era

    @contextlib.asynccontextmanager
    async def opened():
        with anyio.fail_after(300):
            async with Client(target, mode=mode, read_timeout_seconds=240) as client:
                assert client.protocol_version == ("2025-11-25" if mode == "legacy" else era)
                yield client

    return opened


async def structured(client, name, arguments, **options):
    """Calls a tool and checks its result against the schema that the tool declares."""
    tools = {t.name: t for t in (await client.list_tools()).tools}
    result = await client.call_tool(name, arguments, **options)
    assert not result.is_error, result.content
    jsonschema.validate(result.structured_content, tools[name].output_schema)
    return result


async def test_auto_chooses_the_newest_protocol(server):
    async with Client(server.url + "/mcp") as client:
        assert client.protocol_version == "2026-07-28"


async def test_lists_tools(connect):
    async with connect() as client:
        tools = (await client.list_tools()).tools
    assert sorted(t.name for t in tools) == ["chat", "count_tokens", "embed", "generate", "list_models", "rerank"]
    for tool in tools:
        assert tool.description
        jsonschema.Draft202012Validator.check_schema(tool.input_schema)
        jsonschema.Draft202012Validator.check_schema(tool.output_schema)


async def test_calls_each_tool(connect):
    async with connect() as client:
        chat = await structured(client, "chat", {"prompt": "Name a river.", "max_tokens": 12, "temperature": 0})
        assert chat.structured_content["text"] == chat.content[0].text != ""
        assert chat.structured_content["usage"]["completion_tokens"] <= 12

        text = await structured(client, "generate", {"prompt": "The capital of France is", "max_tokens": 4, "temperature": 0})
        assert text.structured_content["text"].startswith(" Paris")
        assert text.structured_content["finish_reason"] == "length"

        messages = [{"role": "user", "content": "Name a river."}]
        counted = await structured(client, "count_tokens", {"messages": messages})
        assert counted.structured_content["tokens"] == chat.structured_content["usage"]["prompt_tokens"]

        listed = await structured(client, "list_models", {})
        [model] = listed.structured_content["models"]
        assert model["state"] == "ready" and model["id"] == chat.structured_content["model"]


async def test_answers_by_a_schema(connect):
    schema = {"type": "object", "properties": {"city": {"type": "string"}, "warm": {"type": "boolean"}}, "required": ["city", "warm"], "additionalProperties": False}
    async with connect() as client:
        result = await structured(client, "chat", {"prompt": "Is Rome warm? As JSON.", "json_schema": schema, "max_tokens": 100, "temperature": 0})
    jsonschema.validate(result.structured_content["json"], schema)


async def test_progress_is_the_whole_text_in_order(connect):
    notes = []

    async def on_progress(progress, total, message):
        notes.append((progress, total, message or ""))

    async with connect() as client:
        result = await structured(client, "chat", {"prompt": "Tell a story.", "max_tokens": 40, "temperature": 0}, progress_callback=on_progress)
    assert len(notes) > 1
    steps = [progress for progress, _, _ in notes]
    assert steps == sorted(set(steps)), "progress must grow with every notification"
    assert {total for _, total, _ in notes} == {40}
    assert "".join(message for _, _, message in notes) == result.structured_content["text"]


async def test_cancelled_call_frees_its_slot(connect, server):
    async with connect() as client:
        started = anyio.Event()

        async def on_progress(*_):
            started.set()

        async with anyio.create_task_group() as group:

            async def call():
                await client.call_tool("generate", {"prompt": "Once upon a time", "max_tokens": 4000, "temperature": 1}, progress_callback=on_progress)

            group.start_soon(call)
            await started.wait()
            group.cancel_scope.cancel()
        # The connection lives on, and a call behind the cancelled one is served.
        result = await structured(client, "generate", {"prompt": "One, two,", "max_tokens": 2, "temperature": 0})
        assert result.structured_content["text"]
        await anyio.to_thread.run_sync(server.wait_idle)


async def test_resources(connect):
    async with connect() as client:
        [resource] = (await client.list_resources()).resources
        assert str(resource.uri) == "models://"
        [template] = (await client.list_resource_templates()).resource_templates
        assert template.uri_template == "models://{id}"
        [content] = (await client.read_resource("models://")).contents
        [model] = json.loads(content.text)["models"]
        [content] = (await client.read_resource("models://" + model["id"])).contents
        assert json.loads(content.text) == model
        with pytest.raises(MCPError):
            await client.read_resource("models://no-such-model")


@pytest.mark.parametrize(
    "name, arguments, says",
    [
        ("chat", {}, "prompt"),
        ("chat", {"prompt": "x", "temperature": 9}, "temperature"),
        ("chat", {"prompt": "x", "colour": "red"}, "colour"),
        ("chat", {"prompt": "x", "model": "no-such-model"}, "no-such-model"),
        ("generate", {"prompt": "one two three four five six seven eight " * 2000}, "context holds"),
        ("count_tokens", {"text": 7}, "text"),
    ],
)
async def test_what_a_tool_cannot_do_is_its_result(connect, name, arguments, says):
    async with connect() as client:
        result = await client.call_tool(name, arguments)
    assert result.is_error
    assert says in result.content[0].text


async def test_unknown_tool_is_a_protocol_error(connect):
    async with connect() as client:
        with pytest.raises(MCPError) as caught:
            await client.call_tool("fly", {})
    assert caught.value.error.code == -32602
