"""A running hearth for the tests with the official clients."""

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import openai
import pytest

ROOT = Path(__file__).resolve().parent.parent
HEARTH = ROOT / "build" / "out" / "bin" / "hearth"
START_TIMEOUT = 120  # seconds, for a machine that is busy with other tests
REQUEST_TIMEOUT = 300


def model_file() -> Path:
    """The default model, as make build leaves it."""
    if path := os.environ.get("HEARTH_TEST_MODEL"):
        return Path(path)
    return cache() / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"


def cache() -> Path:
    """The folder that make build fetches into."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hearth"


def environment() -> dict[str, str]:
    """The environment without what would point hearth at another server or configuration."""
    return {k: v for k, v in os.environ.items() if k not in ("HEARTH_URL", "HEARTH_CONFIG")}


class Server:
    """A hearth serve that tests talk to."""

    def __init__(self, url: str):
        self.url = url

    def request(self, method: str, path: str, body=None, headers=None):
        """One plain HTTP request: status, headers, text. An error status is no exception."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data=data, method=method, headers={"Content-Type": "application/json", **(headers or {})})
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read().decode()

    def json(self, method: str, path: str, body=None):
        """One request that must succeed, and its JSON."""
        status, _, text = self.request(method, path, body)
        assert status == 200, f"{method} {path}: {status} {text}"
        return json.loads(text)

    def metric(self, name: str, absent: float | None = None) -> float:
        """The value of a metric, added up over its labels; absent where it has none yet."""
        _, _, text = self.request("GET", "/metrics")
        found = re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)$", text, re.M)
        if not found and absent is not None:
            return absent
        assert found, f"no metric {name}"
        return sum(map(float, found))

    def wait_idle(self) -> None:
        """Returns when nothing runs and nothing waits."""
        end = time.monotonic() + 60
        while self.metric("hearth_requests_running") or self.metric("hearth_requests_queued"):
            assert time.monotonic() < end, "requests are still running after a minute"
            time.sleep(0.05)


@pytest.fixture(scope="session")
def hearth_binary() -> Path:
    for path in (HEARTH, model_file()):
        if not path.exists():
            pytest.fail(f"{path} is missing: run make build first", pytrace=False)
    return HEARTH


@pytest.fixture(scope="session")
def server(hearth_binary, tmp_path_factory):
    """The server as it comes."""
    with serving(hearth_binary, tmp_path_factory.mktemp("hearth"), "") as s:
        yield s


@pytest.fixture(scope="session")
def exact_server(hearth_binary, tmp_path_factory):
    """A server on which a request that runs alone finds the cache empty, so that the same
    request gives the same bits. Elsewhere a prompt may be shared, or lie in other cells,
    and the last bit of a sum may differ, which can turn a choice between two close tokens."""
    with serving(hearth_binary, tmp_path_factory.mktemp("hearth"), "engine: {prefix_cache: {off: true}}") as s:
        yield s


@contextlib.contextmanager
def serving(binary: Path, folder: Path, config: str, model: Path | None = None):
    log, file = folder / "serve.log", folder / "hearth.yaml"
    file.write_text(config)
    with log.open("wb") as out:
        process = subprocess.Popen(
            [binary, "serve", "--config", file, "--model", model or model_file(), "--listen", "127.0.0.1:0"],
            stdout=out, stderr=subprocess.STDOUT, env=environment(), cwd=folder,
        )
    try:
        yield wait_ready(process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            pytest.fail("hearth serve did not end within a minute of SIGTERM")
    assert code == 0, f"hearth serve ended with {code}:\n{log.read_text()[-3000:]}"


def wait_ready(process: subprocess.Popen, log: Path) -> Server:
    """Reads the address that hearth serve prints, and waits until the model answers."""
    end = time.monotonic() + START_TIMEOUT
    while True:
        assert process.poll() is None, f"hearth serve ended with {process.returncode}:\n{log.read_text()[-3000:]}"
        if found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text()):
            s = Server(found.group())
            if s.request("GET", "/readyz")[0] == 200:
                return s
        assert time.monotonic() < end, f"hearth serve is not ready after {START_TIMEOUT} s:\n{log.read_text()[-3000:]}"
        time.sleep(0.1)


STOCK_SERVER = ROOT / "mcpserver" / "connector" / "upstream" / "testdata" / "stock.py"


@pytest.fixture(scope="session")
def stock() -> dict[str, int]:
    """Numbers of pieces by article, which nothing but this run knows."""
    return {article: 1000 + secrets.randbelow(9000) for article in ("chairs", "lamps", "tables")}


@pytest.fixture(scope="session")
def stock_config(stock, tmp_path_factory) -> str:
    """A configuration with another MCP server, which knows the stock."""
    server = {
        "command": sys.executable, "args": [str(STOCK_SERVER)], "env": {"STOCK": json.dumps(stock)},
        "read_only": ["pieces"], "state": str(tmp_path_factory.mktemp("state")), "connect_timeout": "2m",
    }
    return json.dumps({"connectors": [{"name": "stock", "mcp": server}]})


@pytest.fixture(scope="session")
def stock_server(hearth_binary, stock_config, tmp_path_factory):
    """A server with a connector. It answers before the connector has read its lists."""
    with serving(hearth_binary, tmp_path_factory.mktemp("stock"), stock_config) as s:
        end = time.monotonic() + START_TIMEOUT
        while "stock" not in {t["connector"] for t in s.json("GET", "/v1/tools")["tools"]}:
            assert time.monotonic() < end, "the connector has no tools"
            time.sleep(0.05)
        yield s


def fetched(command: str) -> str:
    """What third_party/fetch made, such as a folder of programs."""
    return subprocess.run(["go", "run", "./third_party/fetch", command], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def openai_client(s: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=s.url + "/v1", api_key="none", max_retries=0, timeout=REQUEST_TIMEOUT)


@pytest.fixture(scope="session")
def client(server) -> openai.OpenAI:
    return openai_client(server)


@pytest.fixture(scope="session")
def exact_client(exact_server) -> openai.OpenAI:
    return openai_client(exact_server)


@pytest.fixture(scope="session")
def model(client) -> str:
    return client.models.list().data[0].id


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
