"""LlamaIndex as an agent whose model and whose tools are Hearth's. The first call is forced,
since the model of the tests chooses poorly; for the same reason its answers are only held to
be there, and the value that only the server knows is looked for in the tool's results."""

import json
import subprocess

from conftest import REQUEST_TIMEOUT, ROOT, environment, fetched


def test_agent_answers_from_a_tool(stock_server, stock):
    calls = stock_server.metric("hearth_tool_calls_total", absent=0)
    model = stock_server.json("GET", "/v1/models")["data"][0]["id"]
    command = [fetched("llamaindex"), ROOT / "tests" / "llamaindex" / "agent.py", stock_server.url, model, "stock__pieces", "How many lamps are in stock?"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=REQUEST_TIMEOUT, env=environment())
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    made = [line for line in lines if "tool" in line]
    answers = [line["answer"] for line in lines if "answer" in line]
    assert len(answers) == 2 and len(made) >= 2
    for call in made:
        assert call["tool"] == "stock__pieces" and list(call["arguments"]) == ["article"]
        assert str(stock[call["arguments"]["article"]]) in call["result"]
    assert all(answers)
    # The server counts what its connectors really did.
    assert stock_server.metric("hearth_tool_calls_total") == calls + len(made)
