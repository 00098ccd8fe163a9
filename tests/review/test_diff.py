"""`deltac diff`: files, artifacts and git references; what shows and what does not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from review_support import SPEC, as_hub_spec, commit, git, hub_config

GOLDEN = Path(__file__).parent.parent / "golden" / "review"

#: The tiny spec, written in another way.
SAME = """\
# Another order of keys, other quotes, defaults written out.
deltas:
  - operator: lora
    alpha: 4.0
    scaling: "standard"
    name: low
    dropout: 0
    rank: 2
    target: {layers: [0, '1-2'], module: [self.query]}
  - {target: {class: [LayerNorm], layers: 2}, operator: tune, name: norms}
heads: [classifier.weight, classifier.bias]
model:
  config: {num_labels: 3, vocab_size: 31, max_position_embeddings: 32, model_type: bert,
           num_attention_heads: 2, num_hidden_layers: 3, intermediate_size: 24, hidden_size: 16}
  class: BertForSequenceClassification
name: tiny
version: 1
"""

#: The tiny spec, changed in many ways.
OTHER = (
    SPEC.replace("name: tiny", "name: tiny\ndescription: Other.\nbudget: {trainable: 50%}")
    .replace("target: {module: self.query}", "target: {module: [self.query, self.key]}")
    .replace("rank: 2\n    alpha: 4", "rank: 4\n    dropout: 0.1")
    .replace("name: norms", "name: lastnorms")
    .replace("num_labels: 3", "num_labels: 2")
    + "  - {operator: adapter, bottleneck: 3, target: {module: layer.0.output.dense}}\n"
)


@pytest.fixture
def files(folder):
    """Two versions of the tiny spec."""
    (folder / "a.delta.yaml").write_text(SPEC)
    (folder / "b.delta.yaml").write_text(OTHER)
    return folder


def test_what_means_the_same_does_not_show(files, deltac):
    (files / "b.delta.yaml").write_text(SAME)
    done = deltac("diff", "a.delta.yaml", "b.delta.yaml", "--exit-code")
    assert done.out == "a.delta.yaml -> b.delta.yaml\nno differences\n"
    assert done.code == 0


def test_the_whole_text(files, deltac, golden):
    done = deltac("diff", "a.delta.yaml", "b.delta.yaml")
    assert (done.code, done.err) == (0, "")
    golden(GOLDEN / "diff.txt", done.out)


def test_the_whole_markdown(files, deltac, golden):
    done = deltac("diff", "a.delta.yaml", "b.delta.yaml", "--format", "markdown", "--exit-code")
    assert done.code == 1
    golden(GOLDEN / "diff.md", done.out)


def test_json(files, deltac):
    done = deltac("diff", "a.delta.yaml", "b.delta.yaml", "--format", "json")
    data = json.loads(done.out)
    assert (data["version"], data["level"], done.code) == (1, "plan", 0)
    rows = {(row["subject"], row["what"]): row for row in data["differences"]}
    assert rows["delta low", "tensor A"] == {
        "subject": "delta low", "what": "tensor A", "before": "float32[2, 16]",
        "after": "float32[4, 16]", "classes": ["CHECKPOINT"], "sites": [],
    }  # fmt: skip
    assert rows["delta low", "sites"]["sites"] == [
        "bert.encoder.layer.{0-2}.attention.self.key.weight ×3"
    ]
    # A delta that only tunes has no tensors that carry its name.
    assert rows["delta lastnorms", "name"]["classes"] == ["META"]
    assert data["counts"]["factors"] == {"before": 192, "after": 768}


def test_options_at_some_sites_name_them(files, deltac):
    override = "alpha: 4\n    overrides: [{layers: 0, alpha: 6}]"
    (files / "b.delta.yaml").write_text(SPEC.replace("alpha: 4", override))
    text = deltac("diff", "a.delta.yaml", "b.delta.yaml").out
    line = "bert.encoder.layer.0.attention.self.query.weight"
    assert text.endswith(f"\n\ndelta low\n  ~ alpha: 4 -> 6\n      {line}\n")


def test_a_renamed_delta_is_recognised(files, deltac):
    (files / "b.delta.yaml").write_text(SPEC.replace("name: low", "name: query"))
    text = deltac("diff", "a.delta.yaml", "b.delta.yaml").out
    assert text.endswith("\n\ndelta query\n  ~ name: low -> query\n")


def test_an_artifact_needs_no_base(files, deltac, monkeypatch):
    assert deltac("compile", "a.delta.yaml", "-o", "built").code == 0
    assert "no differences" in deltac("diff", "built", "a.delta.yaml").out
    deltac("compile", "b.delta.yaml", "-o", "other")
    monkeypatch.setattr("deltac.prepare.prepare", None)  # nothing is planned
    text = deltac("diff", "built", "other").out
    assert "  ~ rank: 2 -> 4\n" in text
    assert "compared as text" not in text


def test_versions_in_git(repository, deltac):
    (repository / "a.delta.yaml").write_text(OTHER)
    commit("second")
    (repository / "sub").mkdir()
    for ref in ("v1", "HEAD~1", "refs/tags/v1"):
        text = deltac("diff", f"{ref}:a.delta.yaml", "a.delta.yaml").out
        assert text.startswith(f"{ref}:a.delta.yaml -> a.delta.yaml\n")
        assert "  ~ rank: 2 -> 4\n" in text
    assert "no differences" in deltac("diff", "HEAD:a.delta.yaml", "main:a.delta.yaml").out


def test_files_that_a_version_names_are_those_of_its_time(repository, deltac):
    (repository / "specs").mkdir()
    (repository / "bert.json").write_text(hub_config())
    text = as_hub_spec().replace("bert.json", "../bert.json")
    (repository / "specs" / "base.yaml").write_text(text)
    spec = "extends: base.yaml\nname: derived\nversion: 1\n"
    (repository / "specs" / "derived.delta.yaml").write_text(spec)
    commit("derived")
    (repository / "bert.json").write_text(
        hub_config().replace('"hidden_size": 16', '"hidden_size": 32')
    )
    (repository / "specs" / "base.yaml").write_text(text.replace("alpha: 4", "alpha: 5"))
    out = deltac("diff", "HEAD:specs/derived.delta.yaml", "specs/derived.delta.yaml").out
    assert "  ~ config.hidden_size: 16 -> 32\n" in out
    assert "  ~ alpha: 4 -> 5\n" in out
    assert "text only" not in out


def test_a_model_that_is_out_of_reach_leaves_the_text(files, deltac):
    text = as_hub_spec().replace("config_file: bert.json, ", "").replace("tiny/bert", "./nowhere")
    (files / "a.delta.yaml").write_text(text)
    text = text.replace("    alpha: 4\n", "").replace("self.query", "[self.query, self.key]")
    (files / "b.delta.yaml").write_text(text)
    done = deltac("diff", "a.delta.yaml", "b.delta.yaml")
    assert (done.code, done.err) == (0, "")
    assert "compared as text only: a.delta.yaml: DLT804, there is no folder './nowhere'" in done.out
    assert "  ~ target module: self.query -> self.key, self.query\n" in done.out
    assert "  - alpha: 4\n" in done.out
    assert "counts" not in done.out


def test_a_spec_at_fault_is_reported_where_it_lies(repository, deltac):
    (repository / "a.delta.yaml").write_text(SPEC.replace("rank", "rnak"))
    commit("fault")
    done = deltac("diff", "HEAD:a.delta.yaml", "v1:a.delta.yaml")
    assert done.code == 1
    assert "--> HEAD:a.delta.yaml:12:5" in done.err


@pytest.mark.parametrize(
    ("argument", "code"),
    [
        ("v1:b.delta.yaml", "DLT613"),
        ("v1:../x.delta.yaml", "DLT613"),
        ("nowhere:a.delta.yaml", "DLT612"),
        ("--output=x:a.delta.yaml", "DLT612"),
        ("-p:a.delta.yaml", "DLT612"),
        ("b.delta.yaml", "DLT831"),
    ],
)
def test_what_is_not_there_has_its_code(repository, deltac, argument, code):
    done = deltac("diff", "--", "a.delta.yaml", argument)
    assert done.code == 2
    assert f"error[{code}]" in done.err
    assert sorted(path.name for path in repository.iterdir()) == [".git", "a.delta.yaml"]


def test_without_git(files, deltac, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(files.parent))
    assert "error[DLT611]" in deltac("diff", "v1:a.delta.yaml", "a.delta.yaml").err
    monkeypatch.setenv("PATH", "")
    done = deltac("diff", "v1:a.delta.yaml", "a.delta.yaml")
    assert "git is needed" in done.err
    assert done.code == 2


def test_a_clone_of_one_commit_says_how_to_get_more(repository, deltac, monkeypatch):
    (repository / "a.delta.yaml").write_text(OTHER)
    commit("second")
    git("clone", "-q", "--no-tags", "--depth", "1", repository.as_uri(), "clone")
    monkeypatch.chdir(repository / "clone")
    done = deltac("diff", "v1:a.delta.yaml", "a.delta.yaml")
    assert "fetch it first: git fetch origin v1" in done.err


def test_an_artifact_of_a_spec_with_bases_variables_and_no_name(folder, deltac):
    (folder / "base.yaml").write_text(SPEC.replace("alpha: 4", "alpha: ${a}") + "vars: {a: 4}\n")
    text = "version: 1\nextends: base.yaml\n"
    (folder / "base.yaml").write_text(
        (folder / "base.yaml").read_text().replace("name: tiny\n", "")
    )
    (folder / "a.delta.yaml").write_text(text)
    assert deltac("compile", "a.delta.yaml", "-o", "built", "--set", "a=6").code == 0
    assert deltac("diff", "built", "a.delta.yaml", "--set", "a=6").out.endswith(
        "\nno differences\n"
    )
    assert deltac("diff", "built", "a.delta.yaml").out.endswith("  ~ alpha: 6 -> 4\n")
    git("init", "-q", "-b", "main")
    commit("all")
    done = deltac("diff", "built", "HEAD:a.delta.yaml", "--set", "a=5")
    assert done.out.endswith("  ~ alpha: 6 -> 5\n")


def test_without_torch_the_texts_are_compared(files):
    code = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "from deltac.cli.main import main\n"
        "main(['diff', 'a.delta.yaml', 'b.delta.yaml'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "compared as text only: torch not installed\n" in done.stdout
    assert "  ~ rank: 2 -> 4\n" in done.stdout
