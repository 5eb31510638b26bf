"""Reference MCP servers for Python behind connectors: their tools, called through Hearth's
API. What they find out, such as the page of a server, exists in this run only."""

import http.server
import json
import secrets
import subprocess
import sys
import threading
import time

import pytest
from conftest import START_TIMEOUT, serving


@pytest.fixture(scope="module")
def page():
    """The address of a page that holds a word of this run, and the word."""
    word = "word" + secrets.token_hex(6)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = f"<html><body><main><h1>A page</h1><p>It says {word} to who reads it.</p></main></body></html>".encode()
            self.send_response(200 if self.path == "/page" else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/page", word
    server.shutdown()


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A git repository with one commit, and its message."""
    folder, message = tmp_path_factory.mktemp("repository"), "Add " + secrets.token_hex(8)
    git = ["git", "-C", folder, "-c", "user.name=A", "-c", "user.email=a@example.org"]
    (folder / "note.txt").write_text("one\n")
    for command in (["init", "-q"], ["add", "note.txt"], ["commit", "-q", "-m", message]):
        subprocess.run([*git, *command], check=True)
    (folder / "note.txt").write_text("two\n")
    return folder, message


@pytest.fixture(scope="module")
def server(hearth_binary, repository, tmp_path_factory):
    def connector(name, tools, *args):
        # The servers say of none of these tools that it only reads: the configuration does.
        state = str(tmp_path_factory.mktemp(name))
        return {"name": name, "mcp": {"command": sys.executable, "args": ["-m", *args], "state": state, "read_only": tools, "connect_timeout": "2m"}}

    config = {"connectors": [
        connector("time", ["convert_time"], "mcp_server_time", "--local-timezone", "Europe/Zurich"),
        connector("git", ["git_log", "git_diff_unstaged"], "mcp_server_git", "--repository", str(repository[0])),
        connector("fetch", ["fetch"], "mcp_server_fetch", "--ignore-robots-txt", "--allow-private-ips"),
    ]}
    with serving(hearth_binary, tmp_path_factory.mktemp("hearth"), json.dumps(config)) as s:
        end = time.monotonic() + START_TIMEOUT
        while not {"time", "git", "fetch"} <= {t["connector"] for t in s.json("GET", "/v1/tools")["tools"]}:
            assert time.monotonic() < end, "a connector has no tools"
            time.sleep(0.05)
        yield s


def call(server, name, **arguments):
    """The text that a tool answers with, and whether it calls that an error."""
    result = server.json("POST", "/v1/tools/" + name, arguments)
    return "".join(c.get("text", "") for c in result["content"]), result["isError"]


def test_schemas_come_over_whole(server):
    tools = {t["name"]: t for t in server.json("GET", "/v1/tools")["tools"]}
    assert set(tools["time__convert_time"]["input_schema"]["required"]) == {"source_timezone", "time", "target_timezone"}
    assert {"git__git_log", "git__git_status", "git__git_diff_unstaged", "fetch__fetch"} <= set(tools)
    assert "url" in tools["fetch__fetch"]["input_schema"]["properties"]


def test_time(server):
    text, failed = call(server, "time__convert_time", source_timezone="Asia/Tokyo", time="12:30", target_timezone="Asia/Kolkata")
    assert not failed and "T09:00:00+05:30" in text
    text, failed = call(server, "time__convert_time", source_timezone="Nowhere", time="12:30", target_timezone="Asia/Kolkata")
    assert failed and "Nowhere" in text


def test_git(server, repository):
    folder, message = repository
    text, failed = call(server, "git__git_log", repo_path=str(folder))
    assert not failed and message in text
    text, failed = call(server, "git__git_diff_unstaged", repo_path=str(folder))
    assert not failed and "-one" in text and "+two" in text
    text, failed = call(server, "git__git_log", repo_path="/")
    assert failed and message not in text


def test_fetch(server, page):
    url, word = page
    text, failed = call(server, "fetch__fetch", url=url)
    assert not failed and word in text
    text, failed = call(server, "fetch__fetch", url=url + "/none")
    assert failed and "404" in text
