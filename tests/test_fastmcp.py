"""The MCP endpoint through the client of the fastmcp library, in the protocol with a
handshake and in the one without, over HTTP and over stdio. Hearth's own tools and those of a
connector, behind which is a server made with the same library."""

import contextlib
import json

import anyio
import pytest
from conftest import environment, model_file
from fastmcp import Client
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from fastmcp.exceptions import ToolError
from mcp import MCPError
from mcp_types import PromptReference, ResourceTemplateReference

pytestmark = pytest.mark.anyio

WAYS = ["http-auto", "http-legacy"]
# Stdio starts a process that loads the model. The version is fixed: a client that probes for
# it gives up where loading takes long.
WAYS_AND_STDIO = pytest.mark.parametrize("connect", [*WAYS, "stdio-2026-07-28"], indirect=True)


@pytest.fixture(params=WAYS)
def connect(request, stock_server, stock_config, hearth_binary, tmp_path):
    """A function that opens a client in one way."""
    transport, mode = request.param.split("-", 1)
    if transport == "http":
        target = StreamableHttpTransport(stock_server.url + "/mcp")
    else:
        (tmp_path / "hearth.yaml").write_text(stock_config)
        args = ["mcp", "--model", str(model_file()), "--config", str(tmp_path / "hearth.yaml")]
        target = StdioTransport(command=str(hearth_binary), args=args, env=environment(), cwd=str(tmp_path))

    @contextlib.asynccontextmanager
    async def opened(**options):
        with anyio.fail_after(300):
            async with Client(target, mode=mode, timeout=240, **options) as client:
                assert client.protocol_version == ("2025-11-25" if mode == "legacy" else "2026-07-28")
                yield client

    return opened


@WAYS_AND_STDIO
async def test_tools_of_both_kinds(connect, stock):
    async with connect() as client:
        tools = {t.name: t for t in await client.list_tools()}
        assert {"chat", "generate", "count_tokens", "list_models", "stock__pieces"} <= set(tools)
        pieces = tools["stock__pieces"]
        assert pieces.input_schema["required"] == ["article"] and pieces.output_schema["type"] == "object"
        assert pieces.annotations.read_only_hint is True

        called = await client.call_tool("stock__pieces", {"article": "lamps"})
        assert called.content[0].text == str(stock["lamps"])
        assert called.structured_content == {"result": stock["lamps"]}

        # The client makes an object of what the tool's output schema describes.
        counted = await client.call_tool("count_tokens", {"text": "one two three"})
        assert counted.data.tokens == counted.structured_content["tokens"] > 2


async def test_structured_output_and_progress(connect):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
    notes = []

    async def on_progress(progress, total, message):
        notes.append((progress, total, message or ""))

    async with connect(progress_handler=on_progress) as client:
        answer = await client.call_tool("chat", {"prompt": "Where is the Louvre? As JSON.", "json_schema": schema, "max_tokens": 60, "temperature": 0})
    assert list(answer.structured_content["json"]) == ["city"]
    assert json.loads(answer.content[0].text) == answer.structured_content["json"]
    assert "".join(message for _, _, message in notes) == answer.structured_content["text"]
    steps = [progress for progress, _, _ in notes]
    assert len(steps) > 1 and steps == sorted(set(steps)) and {total for _, total, _ in notes} == {60}


async def test_resources(connect, stock):
    async with connect() as client:
        assert "models://" in [str(r.uri) for r in await client.list_resources()]
        templates = [t.uri_template for t in await client.list_resource_templates()]
        assert templates == ["models://{id}", "stock+stock://{article}"]
        [shelf] = await client.read_resource("stock+stock://chairs")
        assert shelf.text == f"{stock['chairs']} chairs"
        [models] = await client.read_resource("models://")
        [model] = json.loads(models.text)["models"]
        [one] = await client.read_resource("models://" + model["id"])
        assert json.loads(one.text) == model


async def test_prompts_and_completion(connect, stock):
    async with connect() as client:
        prompts = {p.name: p for p in await client.list_prompts()}
        assert [a.name for a in prompts["stock__reorder"].arguments] == ["article"]
        got = await client.get_prompt("stock__reorder", {"article": "tables"})
        assert got.messages[0].content.text == f"Order more tables: {stock['tables']} are left."

        found = await client.complete(PromptReference(type="ref/prompt", name="stock__reorder"), {"name": "article", "value": "la"})
        assert found.values == ["lamps"]
        found = await client.complete(ResourceTemplateReference(type="ref/resource", uri="stock+stock://{article}"), {"name": "article", "value": ""})
        assert found.values == list(stock)
        found = await client.complete(ResourceTemplateReference(type="ref/resource", uri="models://{id}"), {"name": "id", "value": "smol"})
        assert found.values == ["smollm2-135m-instruct"]


async def test_errors(connect):
    async with connect() as client:
        with pytest.raises(ToolError, match="article"):
            await client.call_tool("stock__pieces", {"article": 7})
        with pytest.raises(ToolError):
            await client.call_tool("stock__pieces", {"article": "dragons"})
        with pytest.raises(MCPError) as unknown:
            await client.call_tool("fly", {})
        assert unknown.value.error.code == -32602
        with pytest.raises(MCPError):
            await client.read_resource("stock+stock://dragons")
        with pytest.raises(MCPError):
            await client.get_prompt("stock__none", {})
