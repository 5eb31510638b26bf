"""A server that the fastmcp library makes of a few functions. What it knows is in $STOCK.

usage: python stock.py [TRANSPORT PORT]"""

import json
import os
import sys
from typing import Literal

from fastmcp import FastMCP

STOCK = json.loads(os.environ["STOCK"])
server = FastMCP("stock")


@server.tool(annotations={"readOnlyHint": True})
def pieces(article: Literal["chairs", "lamps", "tables"]) -> int:
    """How many pieces of an article are in stock."""
    return STOCK[article]


@server.resource("stock://{article}")
def shelf(article: str) -> str:
    return f"{STOCK[article]} {article}"


@server.prompt
def reorder(article: str) -> str:
    """Asks for more of an article."""
    return f"Order more {article}: {STOCK[article]} are left."


@server.completion
def complete(reference, argument, context):
    return [article for article in STOCK if article.startswith(argument.value)]


where = {"transport": sys.argv[1], "port": int(sys.argv[2])} if len(sys.argv) > 1 else {}
server.run(show_banner=False, **where)
