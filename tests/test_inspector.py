"""The MCP endpoint through the command line of the MCP inspector, over HTTP in the protocol
with a handshake and in the one without, and over stdio."""

import json
import subprocess
from pathlib import Path

import pytest
from conftest import REQUEST_TIMEOUT, environment, fetched, model_file


@pytest.fixture(scope="module")
def inspect(tmp_path_factory):
    """A function that runs one method and returns what the inspector prints. What the
    inspector keeps for its user lies in a folder of the test."""
    npm, home = Path(fetched("npm")), tmp_path_factory.mktemp("inspector")
    program = npm / "node_modules" / "@modelcontextprotocol" / "inspector" / "clients" / "launcher" / "build" / "index.js"

    def run(target, method, *options, status=0, era="modern"):
        command = [npm / "bin" / "node", program, "--cli", *target, "--method", method, *options, "--format", "json", "--quiet",
                   "--connect-timeout", "240000", "--protocol-era", era]
        done = subprocess.run(command, capture_output=True, text=True, timeout=REQUEST_TIMEOUT, env={**environment(), "HOME": str(home)})
        assert done.returncode == status, f"{method}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
        if status != 0:
            return done.stdout + done.stderr
        printed = json.loads(done.stdout)
        return printed.get("result", printed)

    return run


@pytest.fixture(params=["modern", "legacy"])
def over_http(request, inspect, stock_server):
    return lambda *args, **options: inspect(["--transport", "http", "--server-url", stock_server.url + "/mcp"], *args, era=request.param, **options)


def test_tools(over_http, stock):
    # Strict: fails where a schema says what not every client can read.
    tools = {t["name"]: t for t in over_http("tools/list", "--strict")["tools"]}
    assert {"chat", "generate", "list_models", "stock__pieces"} <= set(tools)
    assert tools["stock__pieces"]["inputSchema"]["required"] == ["article"]
    called = over_http("tools/call", "--tool-name", "stock__pieces", "--tool-arg", "article=tables")
    assert called["structuredContent"] == {"result": stock["tables"]}


def test_resources(over_http, stock):
    assert "models://" in [r["uri"] for r in over_http("resources/list")["resources"]]
    [shelf] = over_http("resources/read", "--uri", "stock+stock://lamps")["contents"]
    assert shelf["text"] == f"{stock['lamps']} lamps"


def test_prompts(over_http, stock):
    assert "stock__reorder" in [p["name"] for p in over_http("prompts/list")["prompts"]]
    got = over_http("prompts/get", "--prompt-name", "stock__reorder", "--prompt-args", "article=chairs")
    assert got["messages"][0]["content"]["text"] == f"Order more chairs: {stock['chairs']} are left."


def test_refused_arguments(over_http):
    assert "article" in over_http("tools/call", "--tool-name", "stock__pieces", "--tool-arg", "colour=red", status=5)


def test_stdio(inspect, hearth_binary, stock_server, stock, stock_config, tmp_path):
    # stock_server has read the lists of the connector, and a later process remembers them.
    (tmp_path / "hearth.yaml").write_text(stock_config)
    # A program of its own: the inspector takes --config for itself.
    program = tmp_path / "serve"
    program.write_text(f'#!/bin/sh\nexec "{hearth_binary}" mcp --model "{model_file()}" --config "{tmp_path}/hearth.yaml"\n')
    program.chmod(0o755)
    target = [str(program)]
    tools = inspect(target, "tools/list")["tools"]
    assert {"count_tokens", "stock__pieces"} <= {t["name"] for t in tools}
    called = inspect(target, "tools/call", "--tool-name", "stock__pieces", "--tool-arg", "article=lamps")
    assert called["structuredContent"] == {"result": stock["lamps"]}
