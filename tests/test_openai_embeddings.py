"""Embeddings through the official client, against a reference computed from the same weights."""

import base64
import itertools
import json
import zipfile
from pathlib import Path

import numpy as np
import openai
import pytest

from bert import Bert
from conftest import ROOT, cache, openai_client, serving

PIN = next(p for p in json.loads((ROOT / "third_party" / "pins.json").read_text())["files"] if p["set"] == "embedding-model")
SUBJECTS = ["The old ferry", "My neighbour's cat", "A café in Zürich", "Nobody in the office", "The 3rd quarter report"]
ACTIONS = ["crossed the river before dawn.", "was asleep; it didn't notice!", "costs $4.50 more than last year?", "ran (slowly) past 東京 station."]
ENDINGS = ["", " Then it rained.", " Antidisestablishmentarianism, obviously.", " " + "And so on and so on, " * 8, " See https://example.org/a_b for e-mail."]
SENTENCES = ["".join((f"{s} {a}", e)) for s, a, e in itertools.product(SUBJECTS, ACTIONS, ENDINGS)]


def embedding_model() -> Path:
    path = cache() / "models" / PIN["made"]["file"]
    if not path.exists():
        pytest.fail(f"{path} is missing: run make build first", pytrace=False)
    return path


@pytest.fixture(scope="module")
def bert() -> Bert:
    with zipfile.ZipFile(cache() / "downloads" / PIN["file"]) as wheel:
        folder = PIN["package"].replace("-", "_") + "/model/"
        return Bert(lambda name: wheel.read(folder + name))


@pytest.fixture(scope="module")
def embedder(hearth_binary, tmp_path_factory):
    """A server whose one model only embeds."""
    with serving(hearth_binary, tmp_path_factory.mktemp("embed"), "engine: {threads: 1}", model=embedding_model()) as s:
        yield openai_client(s), s


def cosines(a, b):
    a, b = np.asarray(a, float), np.asarray(b, float)
    return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def test_agrees_with_the_reference(embedder, bert):
    client, _ = embedder
    assert len(SENTENCES) == 100
    answer = client.embeddings.create(model="", input=SENTENCES, encoding_format="float")
    tokens = [bert.tokens(s) for s in SENTENCES]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == sum(map(len, tokens))
    assert [d.index for d in answer.data] == list(range(100))
    got = [d.embedding for d in answer.data]
    assert np.allclose(np.linalg.norm(got, axis=-1), 1, atol=1e-5)
    same = cosines(got, [bert.embed(t) for t in tokens])
    assert same.min() >= 0.999, f"{SENTENCES[int(same.argmin())]!r} has cosine {same.min()}"
    # and texts differ: the mean cosine of neighbours is far from 1
    assert cosines(got[:-1], got[1:]).mean() < 0.95


def test_forms_of_input_and_answer(embedder, bert):
    client, s = embedder
    text = "Interest rates rose again."
    plain = client.embeddings.create(model="", input=text, encoding_format="float").data[0].embedding
    ids = bert.tokens(text)
    for form in (text, [text], ids, [ids]):
        assert cosines(client.embeddings.create(model="", input=form).data[0].embedding, plain) > 0.9999
    raw = s.json("POST", "/v1/embeddings", {"input": [text, ids], "encoding_format": "base64"})
    assert raw["object"] == "list" and raw["usage"] == {"prompt_tokens": 2 * len(ids), "total_tokens": 2 * len(ids)}
    for d in raw["data"]:
        assert cosines(np.frombuffer(base64.b64decode(d["embedding"]), "<f4"), plain) > 0.9999
    short = client.embeddings.create(model="", input=text, dimensions=64).data[0].embedding
    assert len(short) == 64 and np.isclose(np.linalg.norm(short), 1, atol=1e-5)
    assert cosines(short, plain[:64]) > 0.9999


def test_refusals(embedder):
    client, s = embedder
    long = "river " * 600
    for body, field, says in (
        ({"input": long}, "input[0]", "602 tokens, and this model computes at most 512"),
        ({"input": []}, "input", "at least one"),
        ({"input": ["a", ""]}, "input[1]", "empty"),
        ({"input": [[1, 99999]]}, "input[0][1]", "vocabulary"),
        ({"input": "a", "dimensions": 385}, "dimensions", "384"),
        ({"input": "a", "dimensions": 0}, "dimensions", "at least 1"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format", "float or base64"),
        ({}, "input", "missing"),
    ):
        status, _, text = s.request("POST", "/v1/embeddings", body)
        error = json.loads(text)["error"]
        assert status == 400 and error["param"] == field and says in error["message"], text
    cut = s.json("POST", "/v1/embeddings", {"input": long, "truncate": True})
    assert cut["usage"]["prompt_tokens"] == 512
    with pytest.raises(openai.BadRequestError, match="embeddings and no text"):
        client.chat.completions.create(model="", messages=[{"role": "user", "content": "Hello"}])
    model = s.json("GET", "/v1/models")["data"][0]
    assert model["details"]["generates"] is False
    assert model["details"]["embedding"] == {"dimensions": 384, "max_tokens": 512, "pooling": "mean"}


def test_a_chat_model_embeds_only_if_asked(client, hearth_binary, tmp_path):
    with pytest.raises(openai.BadRequestError, match="embeddings: true"):
        client.embeddings.create(model="", input="Hello")
