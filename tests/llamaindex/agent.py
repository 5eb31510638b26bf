"""Asks an agent of LlamaIndex a question, twice: with streamed answers and with whole ones.
Hearth is its model, over the OpenAI API, and has its tools, over MCP.

usage: python agent.py URL MODEL TOOL QUESTION

TOOL is the one that the agent has, and must call first. Prints a line of JSON for each
call that the agent made, and one for each of its answers."""

import asyncio
import json
import sys

from llama_index.core.agent.workflow import FunctionAgent, ToolCallResult
from llama_index.llms.openai_like import OpenAILike
from llama_index.tools.mcp import BasicMCPClient, McpToolSpec

url, model, tool, question = sys.argv[1:]


async def main():
    tools = await McpToolSpec(client=BasicMCPClient(url + "/mcp"), allowed_tools=[tool]).to_tool_list_async()
    llm = OpenAILike(
        model=model, api_base=url + "/v1", api_key="none", is_chat_model=True, is_function_calling_model=True,
        temperature=0, max_tokens=200, timeout=300, max_retries=0,
    )
    for streaming in (True, False):
        agent = FunctionAgent(
            tools=tools, llm=llm, initial_tool_choice=tool, allow_parallel_tool_calls=False, streaming=streaming,
            system_prompt="Answer with what the tool says.",
        )
        run = agent.run(question)
        async for event in run.stream_events():
            if isinstance(event, ToolCallResult):
                print(json.dumps({"tool": event.tool_name, "arguments": event.tool_kwargs, "result": event.tool_output.content}))
        print(json.dumps({"answer": str(await run)}))


asyncio.run(main())
