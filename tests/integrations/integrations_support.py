"""A spec, and scratch repositories that hold it, for the tests of integrations."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]

SPEC = """\
version: 1
name: tiny
model:
  class: AutoModel
  config: {model_type: bert, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 3,
           num_attention_heads: 2, max_position_embeddings: 32, vocab_size: 31}
deltas:
  - operator: lora
    target: {module: self.query}
    rank: 2
    alpha: 4
"""
#: Its model is nowhere at hand: it is checked against the schema, fast.
FAR = "version: 1\nmodel: {source: tiny/far, class: AutoModel}\n" + SPEC[SPEC.index("deltas:") :]
BETTER = SPEC.replace("self.query", "[self.query, self.value]")
WRONG = SPEC.replace("rank:", "rnak:")


def git(folder, *words):
    settings = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *settings, *words], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def repository(folder, **specs):
    """A git repository with one commit: the specs, each by the name of its file without `.delta.yaml`."""
    folder.mkdir(exist_ok=True)
    git(folder, "init", "-q", "-b", "main")
    for name, text in specs.items():
        (folder / f"{name}.delta.yaml").write_text(text, encoding="utf-8")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    return folder
