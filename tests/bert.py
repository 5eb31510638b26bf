"""A BERT in numpy, from its safetensors: what the server's embeddings are held against."""

import json
import struct
import unicodedata

import numpy as np


class Bert:
    """all-MiniLM-L6-v2: WordPiece in lower case, six layers, the mean of the last, length 1."""

    def __init__(self, read):
        """read(name) gives the bytes of a file of the model's folder."""
        self.config = json.loads(read("config.json"))
        self.vocabulary = {token: i for i, token in enumerate(read("vocab.txt").decode().splitlines())}
        raw = read("model.safetensors")
        (length,) = struct.unpack("<Q", raw[:8])
        self.weights = {}
        for name, entry in json.loads(raw[8 : 8 + length]).items():
            if name != "__metadata__" and entry["dtype"] == "F32":
                begin, end = entry["data_offsets"]
                self.weights[name] = np.frombuffer(raw[8 + length + begin : 8 + length + end], "<f4").reshape(entry["shape"])

    def tokens(self, text: str) -> list[int]:
        pieces = ["[CLS]"]
        for word in self._words(text):
            pieces += self._pieces(word)
        return [self.vocabulary[p] for p in pieces + ["[SEP]"]]

    @staticmethod
    def _words(text: str) -> list[str]:
        spaced = ""
        for c in unicodedata.normalize("NFD", text.lower()):
            category = unicodedata.category(c)
            if category == "Mn":
                continue
            symbol = c.isascii() and not c.isalnum() and not c.isspace()
            spaced += f" {c} " if symbol or category.startswith("P") or 0x4E00 <= ord(c) <= 0x9FFF else c
        return spaced.split()

    def _pieces(self, word: str) -> list[str]:
        found, start = [], 0
        while start < len(word):
            mark = "##" if start else ""
            end = next((e for e in range(len(word), start, -1) if mark + word[start:e] in self.vocabulary), None)
            if end is None:
                return ["[UNK]"]
            found.append(mark + word[start:end])
            start = end
        return found

    def embed(self, tokens: list[int]) -> np.ndarray:
        mean = self.layers(tokens).mean(0)
        return mean / np.linalg.norm(mean)

    def layers(self, tokens: list[int]) -> np.ndarray:
        """What the last layer gives for each token."""
        w, c = self.weights, self.config
        heads, width = c["num_attention_heads"], c["hidden_size"]

        def linear(x, name):
            return x @ w[name + ".weight"].T + w[name + ".bias"]

        def norm(x, name):
            x = x - x.mean(-1, keepdims=True)
            x = x / np.sqrt((x * x).mean(-1, keepdims=True) + c["layer_norm_eps"])
            return x * w[name + ".weight"] + w[name + ".bias"]

        def split(x):
            return x.reshape(len(tokens), heads, width // heads).transpose(1, 0, 2)

        x = w["embeddings.word_embeddings.weight"][tokens] + w["embeddings.position_embeddings.weight"][: len(tokens)]
        x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for i in range(c["num_hidden_layers"]):
            at = f"encoder.layer.{i}."
            q, k, v = (split(linear(x, f"{at}attention.self.{n}")) for n in ("query", "key", "value"))
            scores = q @ k.transpose(0, 2, 1) / np.sqrt(width // heads)
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            mixed = (scores / scores.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(len(tokens), width)
            x = norm(x + linear(mixed, at + "attention.output.dense"), at + "attention.output.LayerNorm")
            x = norm(x + linear(gelu(linear(x, at + "intermediate.dense")), at + "output.dense"), at + "output.LayerNorm")
        return x


def gelu(x):
    """The exact one, by the error function as Abramowitz and Stegun 7.1.26 approximate it (to 1.5e-7)."""
    z = np.abs(x) / np.sqrt(2)
    t = 1 / (1 + 0.3275911 * z)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    erf = np.sign(x) * (1 - series * np.exp(-z * z))
    return x * (1 + erf) / 2
