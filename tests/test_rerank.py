"""/v1/rerank, against a reference computed from the same weights: MiniLM's layers under a head of pseudo-random numbers."""

import json
import zipfile

import numpy as np
import pytest

from bert import Bert
from conftest import ROOT, cache, serving

PIN = next(p for p in json.loads((ROOT / "third_party" / "pins.json").read_text())["files"] if p["set"] == "embedding-model")
QUERY = "How tall is the tower by the river?"
DOCUMENTS = [
    "It is 330 metres high.",
    "The tower was built in 1889, and painted eighteen times since.",
    "A café in Zürich costs $4.50 more than last year.",
    "It is 330 metres high.",
    "Nobody in the office knew; it didn't matter! " * 12,
    "x",
]


@pytest.fixture(scope="module")
def ranker(hearth_binary, tmp_path_factory):
    """A server whose one model scores documents."""
    path = cache() / "models" / "random-rank.F16.gguf"
    if not path.exists():
        pytest.fail(f"{path} is missing: run make rank-model first", pytrace=False)
    with serving(hearth_binary, tmp_path_factory.mktemp("rank"), "engine: {threads: 1}", model=path) as s:
        yield s


def head(salt: int, *shape: int) -> np.ndarray:
    """The numbers of third_party/fetch/rank.go."""
    i = np.arange(np.prod(shape), dtype=np.uint64)
    x = ((i + (salt << 20)) * 2654435761) & 0xFFFFFFFF
    return (((x >> 8) / 2.0**24 - 0.5) / 5).reshape(shape)


def reference(documents: list[str]) -> tuple[list[float], int]:
    with zipfile.ZipFile(cache() / "downloads" / PIN["file"]) as wheel:
        folder = PIN["package"].replace("-", "_") + "/model/"
        bert = Bert(lambda name: wheel.read(folder + name))
    scores, count = [], 0
    for d in documents:
        tokens = bert.tokens(QUERY) + bert.tokens(d)[1:]  # [CLS] query [SEP] document [SEP]
        count += len(tokens)
        hidden = np.tanh(bert.layers(tokens)[0] @ head(1, 384, 384).T + head(2, 384))
        scores.append(float(hidden @ head(3, 384) + head(4, 1)[0]))
    return scores, count


def test_agrees_with_the_reference(ranker):
    want, count = reference(DOCUMENTS)
    answer = ranker.json("POST", "/v1/rerank", {"query": QUERY, "documents": DOCUMENTS, "return_documents": True})
    assert answer["usage"] == {"prompt_tokens": count, "total_tokens": count}
    results = answer["results"]
    assert sorted(r["index"] for r in results) == list(range(len(DOCUMENTS)))
    got = [r["relevance_score"] for r in results]
    assert got == sorted(got, reverse=True)
    for r in results:
        assert abs(r["relevance_score"] - want[r["index"]]) < 0.01, (r, want)
        assert r["document"]["text"] == DOCUMENTS[r["index"]]
    assert max(want) - min(want) > 0.1  # they differ by far more than the bound above
    best = ranker.json("POST", "/v1/rerank", {"query": QUERY, "documents": DOCUMENTS, "top_n": 2})["results"]
    assert [r["index"] for r in best] == [r["index"] for r in results[:2]]
    assert set(best[0]) == {"index", "relevance_score"}


def test_refusals(ranker, server):
    for body, field, says in (
        ({"query": QUERY, "documents": ["a", "river " * 600]}, "documents[1]", "this model computes at most 512"),
        ({"query": "river " * 600, "documents": ["a"]}, "query", "no room"),
        ({"query": QUERY, "documents": [""]}, "documents[0]", "empty"),
        ({"documents": ["a"]}, "query", "missing"),
    ):
        status, _, text = ranker.request("POST", "/v1/rerank", body)
        error = json.loads(text)["error"]
        assert status == 400 and error["param"] == field and says in error["message"], text
    cut = ranker.json("POST", "/v1/rerank", {"query": QUERY, "documents": ["river " * 600], "truncate": True})
    assert cut["usage"]["prompt_tokens"] == 512
    for s, path, body, says in (
        (ranker, "/v1/embeddings", {"input": "a"}, "/v1/rerank"),
        (ranker, "/v1/completions", {"prompt": "a"}, "no text"),
        (server, "/v1/rerank", {"query": "a", "documents": ["b"]}, "does not rank documents"),
    ):
        status, _, text = s.request("POST", path, body)
        error = json.loads(text)["error"]
        assert status == 400 and error["code"] == "unsupported" and says in error["message"], text
    details = ranker.json("GET", "/v1/models")["data"][0]["details"]
    assert details["rerank"] == {"max_tokens": 512} and "embedding" not in details and details["generates"] is False
