"""The tiny spec that the tests of reviews compare with itself, and git for scratch repositories."""

import json
import subprocess

SPEC = """\
version: 1
name: tiny
model:
  class: AutoModelForSequenceClassification
  config: {model_type: bert, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 3,
           num_attention_heads: 2, max_position_embeddings: 32, vocab_size: 31, num_labels: 3}
heads: classifier
deltas:
  - name: low
    operator: lora
    target: {module: self.query}
    rank: 2
    alpha: 4
  - name: norms
    operator: tune
    target: {class: LayerNorm, layers: last 1}
"""


def git(*words):
    settings = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *settings, *words], check=True, capture_output=True)


def commit(message):
    git("add", "-A")
    git("commit", "-q", "-m", message)


def as_hub_spec(revision=""):
    """The tiny spec on a hub id, its config in a file beside it."""
    head, _, deltas = SPEC.partition("model:")
    deltas = deltas[deltas.index("deltas:") :]
    model = f"model: {{source: tiny/bert, config_file: bert.json, class: AutoModel{revision}}}\n"
    return head + model + deltas


def hub_config():
    """The text of the config file that `as_hub_spec` names."""
    config = {"model_type": "bert", "architectures": ["BertModel"], "hidden_size": 16}
    config |= {"intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}
    return json.dumps(config | {"max_position_embeddings": 32, "vocab_size": 31})


def change(folder, old, new, name="a.delta.yaml"):
    """Replaces a text in a spec."""
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))
