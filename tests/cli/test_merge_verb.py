"""`deltac merge` from the outside: what it prints, writes and refuses."""

import pytest
import torch
import transformers
from cli_support import GOOD, deltac, files

import deltac as library
from deltac.model.quiet import quiet

MIXED = GOOD + "  - {operator: adapter, bottleneck: 4, target: {module: mlp}}\n"
TOKENS = torch.arange(12).reshape(2, 6)


@pytest.fixture(autouse=True)
def artifacts(tmp_path, monkeypatch):
    """Each test runs in a folder of its own that holds two trained deltas, one of which can be merged whole."""
    monkeypatch.chdir(tmp_path)
    for name, text in (("low", GOOD), ("mixed", MIXED)):
        (tmp_path / f"{name}.delta.yaml").write_text(text)
        compiled = library.compile(tmp_path / f"{name}.delta.yaml")
        with torch.no_grad():
            for parameter in compiled.parameters().values():
                parameter.add_(0.1)
        compiled.save(name)
    return tmp_path


def logits(model):
    with torch.no_grad():
        return model(input_ids=TOKENS).logits


def plain(folder):
    with quiet():
        return transformers.AutoModelForCausalLM.from_pretrained(folder)


def test_a_delta_becomes_a_plain_model():
    result = deltac("merge", "low", "-o", "out/merged")
    assert (result.code, result.err) == (0, "")
    first, second = result.out.splitlines()
    assert first == "merged     lora (lora): model.layers.{0-1}.self_attn.q_proj.weight"
    size = sum(map(len, files("out/merged").values()))
    assert second == f"wrote      out/merged ({size:,} bytes, LlamaForCausalLM)"
    assert set(files("out/merged")) == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
    }
    expected = logits(library.load("low").model)
    assert torch.allclose(logits(plain("out/merged")), expected, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_merged_is_refused_and_nothing_is_written(artifacts):
    before = files(artifacts)
    result = deltac("merge", "mixed", "-o", "merged", "--output-format", "concise")
    assert (result.code, result.out) == (2, "")
    assert "DLT731" in result.err
    assert "adapter" in result.err
    assert files(artifacts) == before


def test_the_rest_lies_beside_the_merged_base():
    result = deltac("merge", "mixed", "-o", "merged", "--partial")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0].startswith("merged     lora (lora): ")
    assert lines[1].startswith("stays      adapter (adapter): model.layers.{0-1}.mlp: it computes")
    assert [line.split(" (")[0] for line in lines[2:]] == [
        "wrote      merged",
        "wrote      merged-rest",
    ]
    rest = library.load("merged-rest")
    assert rest.manifest["base"]["source"] == "../merged"
    assert rest.is_trained
    assert rest.checked == ("structure", "weights")
    expected = logits(library.load("mixed").model)
    assert torch.allclose(logits(rest.model), expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(logits(plain("merged")), expected)


def test_a_part_that_is_all_leaves_no_rest(artifacts):
    assert deltac("merge", "low", "-o", "merged", "--partial").code == 0
    assert not (artifacts / "merged-rest").exists()


def test_a_model_is_replaced_only_when_asked(artifacts):
    assert deltac("merge", "low", "-o", "merged").code == 0
    (artifacts / "merged" / "notes.txt").write_text("mine")
    before = files(artifacts)
    refused = deltac("merge", "low", "-o", "merged")
    assert (refused.code, "DLT735" in refused.err) == (2, True)
    assert files(artifacts) == before
    assert deltac("merge", "low", "-o", "merged", "--force").code == 0
    assert "notes.txt" not in files("merged")


def test_a_trained_rest_is_replaced_only_when_asked(artifacts):
    assert deltac("merge", "mixed", "-o", "merged", "--partial").code == 0
    before = files(artifacts)
    for path in (artifacts / "merged").iterdir():
        path.unlink()
    refused = deltac("merge", "mixed", "-o", "merged", "--partial")
    assert (refused.code, "DLT702" in refused.err) == (2, True)
    assert files("merged-rest") == {
        name.removeprefix("merged-rest/"): content
        for name, content in before.items()
        if name.startswith("merged-rest/")
    }
    assert deltac("merge", "mixed", "-o", "merged", "--partial", "--force").code == 0


def test_a_folder_without_a_model_is_never_replaced(artifacts):
    (artifacts / "thesis").mkdir()
    (artifacts / "thesis" / "chapter.tex").write_text("long")
    result = deltac("merge", "low", "-o", "thesis", "--force")
    assert (result.code, "DLT703" in result.err) == (2, True)
    assert files("thesis") == {"chapter.tex": b"long"}


@pytest.mark.parametrize("folder", ["low", ".", "merged"])
def test_what_is_read_is_never_replaced(artifacts, folder):
    assert deltac("merge", "mixed", "-o", "merged", "--partial").code == 0
    before = files(artifacts)
    artifact = "merged-rest" if folder == "merged" else "low"
    result = deltac("merge", artifact, "-o", folder, "--force", "--partial")
    assert (result.code, "DLT736" in result.err) == (2, True)
    assert files(artifacts) == before


def test_a_folder_that_cannot_be_written_leaves_nothing_behind(artifacts):
    (artifacts / "file").write_text("a file")
    before = files(artifacts)
    result = deltac("merge", "low", "-o", "file/merged")
    assert (result.code, "DLT709" in result.err) == (2, True)
    assert files(artifacts) == before


def test_the_help_says_what_it_does():
    text = deltac("merge", "--help").out
    assert "loads anywhere" in text
    assert "OUTPUT-rest" in text
    assert deltac("merge", "low").code == 2  # --output is required
    missing = deltac("merge", "nowhere", "-o", "merged")
    assert (missing.code, "DLT701" in missing.err) == (2, True)
