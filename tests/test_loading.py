"""Loading refuses another base, other tensors and damaged files, each with a code of its own."""

import copy
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import tiny
import torch
import transformers

import deltac


@pytest.fixture
def folder(tmp_path):
    """The artifact of a trained delta on the tiny BERT."""
    return tiny.compiled("bert").save(tmp_path / "delta")


def _refused(folder, model, code):
    before = tiny.snapshot(model)
    error = tiny.refused(lambda: deltac.load(folder, model=model), code)
    assert tiny.snapshot(model) == before, "the model changed"
    return error


def _rewrite(folder, change, *, rehash=True):
    """Changes the manifest; with `rehash` the hashes of the files stay true."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    if rehash:
        _rehash(folder)


def _rehash(folder):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for name, entry in manifest["files"].items():
        content = (folder / name).read_bytes()
        entry |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    path.write_text(json.dumps(manifest))


def test_round_trip(folder):
    expected = tiny.compiled("bert")
    model = tiny.base("bert")
    loaded = deltac.load(folder, model=model)
    assert loaded.model is model
    assert loaded.checked == ("structure", "weights")
    assert tiny.same_bits(tiny.state(loaded.model), tiny.state(expected.model))
    assert torch.equal(tiny.logits(loaded.model), tiny.logits(expected.model))
    with loaded.disabled(), expected.disabled():
        assert torch.equal(tiny.logits(loaded.model), tiny.logits(expected.model))
    trainable = [p.requires_grad for p in loaded.model.parameters()]
    assert trainable == [p.requires_grad for p in expected.model.parameters()]


def test_saving_what_was_loaded_gives_the_same_files(folder, tmp_path):
    again = deltac.load(folder, model=tiny.base("bert")).save(tmp_path / "again")
    names = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
    for name in names:
        assert (again / name).read_bytes() == (folder / name).read_bytes(), name


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_round_trip_without_a_model(name, tmp_path):
    """A spec without a source: the base's values come from the seed."""
    compiled = tiny.perturb(deltac.compile(tiny.spec(name)))
    loaded = deltac.load(compiled.save(tmp_path / "delta"))
    assert tiny.same_bits(tiny.state(loaded.model), tiny.state(compiled.model))
    assert torch.equal(tiny.logits(loaded.model), tiny.logits(compiled.model))


_FRESH = """
import sys, torch, deltac
loaded = deltac.load(sys.argv[1])
with torch.no_grad():
    torch.save(loaded.model(**torch.load(sys.argv[2])).logits, sys.argv[3])
"""


def test_round_trip_in_a_fresh_process(tmp_path):
    spec = tiny.spec("bert")
    spec["model"] = {"source": tiny.MINILM, "class": "AutoModel"}
    spec["deltas"] = [{"operator": "lora", "target": {"module": "self.query"}, "rank": 4}]
    compiled = tiny.perturb(deltac.compile(spec))
    folder = compiled.save(tmp_path / "delta")
    given = tiny.inputs(compiled.model)
    torch.save(given, tmp_path / "inputs")
    script = _FRESH.replace(".logits", ".last_hidden_state")
    arguments = [str(folder), str(tmp_path / "inputs"), str(tmp_path / "out")]
    subprocess.run([sys.executable, "-c", script, *arguments], check=True, cwd=tmp_path)
    with torch.no_grad():
        expected = compiled.model(**given).last_hidden_state
    assert torch.equal(torch.load(tmp_path / "out"), expected)


# Another base.


def test_another_architecture(folder):
    _refused(folder, tiny.base("llama"), "DLT711")


def test_another_class_of_the_same_architecture(folder):
    config = transformers.AutoConfig.for_model(**tiny.ARCHITECTURES["bert"]["config"])
    _refused(folder, transformers.AutoModelForMaskedLM.from_config(config), "DLT711")


@pytest.mark.parametrize("layers", [1, 3])
def test_another_number_of_layers(folder, layers):
    _refused(folder, tiny.base("bert", num_hidden_layers=layers), "DLT712")


@pytest.mark.parametrize("change", [{"hidden_size": 40}, {"vocab_size": 71}])
def test_another_width(folder, change):
    error = _refused(folder, tiny.base("bert", **change), "DLT713")
    assert str(next(iter(change.values()))) in str(error)


@pytest.mark.parametrize(
    "change",
    [{"num_attention_heads": 2}, {"hidden_act": "relu"}, {"layer_norm_eps": 1e-5}],
    ids=lambda change: next(iter(change)),
)
def test_another_config(folder, change):
    error = _refused(folder, tiny.base("bert", **change), "DLT714")
    assert next(iter(change)) in str(error)


def test_other_names(folder):
    model = tiny.base("bert")
    dense = model.bert.pooler.dense
    dense.kernel = dense.weight
    del dense.weight
    dense.forward = None
    model.bert.pooler.dense = _Renamed(dense)
    _refused(folder, model, "DLT715")


class _Renamed(torch.nn.Module):
    """A linear whose weight has another name."""

    def __init__(self, dense):
        super().__init__()
        self.kernel, self.bias = dense.kernel, dense.bias

    def forward(self, x):
        return torch.nn.functional.linear(x, self.kernel, self.bias)


def test_other_weights(folder):
    _refused(folder, tiny.base("bert", seed=1), "DLT716")
    other = tiny.base("bert")
    with torch.no_grad():
        other.bert.encoder.layer[1].output.dense.bias[0] += 1e-4
    _refused(folder, other, "DLT716")


def test_another_dtype(folder):
    _refused(folder, tiny.base("bert", dtype=torch.bfloat16), "DLT717")


def test_every_kind_of_base_has_its_own_code():
    """The tests above use each of DLT711 to DLT717."""
    text = Path(__file__).read_text()
    assert all(f'"DLT{code}")' in text for code in range(711, 718))


def test_a_head_of_another_width_is_no_other_base(folder):
    """A head is no part of the base; its tensors do not fit."""
    _refused(folder, tiny.base("bert", num_labels=5), "DLT722")


def test_a_compiled_model_is_refused(folder):
    _refused(folder, tiny.compiled("bert").model, "DLT505")


# Files.


def test_no_artifact(tmp_path):
    model = tiny.base("bert")
    _refused(tmp_path / "absent", model, "DLT701")
    _refused(tmp_path, model, "DLT701")
    (tmp_path / "manifest.json").write_text("{")
    _refused(tmp_path, model, "DLT701")
    (tmp_path / "manifest.json").write_text("[]")
    _refused(tmp_path, model, "DLT701")


@pytest.mark.parametrize("name", ["delta.safetensors", "heads.safetensors", "spec.delta.yaml"])
def test_a_missing_file(folder, name):
    (folder / name).unlink()
    _refused(folder, tiny.base("bert"), "DLT701")


def test_a_file_that_is_no_safetensors(folder):
    (folder / "delta.safetensors").write_bytes(b"nothing of the kind")
    _rehash(folder)
    _refused(folder, tiny.base("bert"), "DLT701")


def test_a_later_format(folder):
    _rewrite(folder, lambda manifest: manifest.update(format=99))
    _refused(folder, tiny.base("bert"), "DLT704")


@pytest.mark.parametrize("name", ["delta.safetensors", "heads.safetensors", "spec.delta.yaml"])
def test_a_damaged_file(folder, name):
    path = folder / name
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(bytes(content))
    _refused(folder, tiny.base("bert"), "DLT705")


def test_an_edited_spec(folder):
    path = folder / "spec.delta.yaml"
    path.write_text(path.read_text().replace("rank: 4", "rank: 4\n    alpha: 64"))
    _refused(folder, tiny.base("bert"), "DLT705")


def test_a_file_cut_short(folder):
    path = folder / "delta.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    _refused(folder, tiny.base("bert"), "DLT705")


# Tensors.


def _tensors(folder, change):
    path = folder / "delta.safetensors"
    values = safetensors.torch.load_file(path)
    change(values)
    safetensors.torch.save_file(values, path)
    _rehash(folder)


def test_a_missing_tensor(folder):
    _tensors(folder, lambda values: values.pop(next(iter(values))))
    _refused(folder, tiny.base("bert"), "DLT721")


def test_a_tensor_too_many(folder):
    _tensors(folder, lambda values: values.update(other=torch.zeros(2)))
    _refused(folder, tiny.base("bert"), "DLT721")


@pytest.mark.parametrize("change", [lambda t: t[:-1].clone(), lambda t: t.half()])
def test_a_tensor_of_another_form(folder, change):
    def apply(values):
        name = next(iter(values))
        values[name] = change(values[name])

    _tensors(folder, apply)
    _refused(folder, tiny.base("bert"), "DLT722")


# Writing.


def test_a_trained_delta_is_not_overwritten(folder):
    other = tiny.perturb(tiny.compiled("bert"), seed=4)
    before = (folder / "delta.safetensors").read_bytes()
    tiny.refused(lambda: other.save(folder), "DLT702")
    assert (folder / "delta.safetensors").read_bytes() == before
    other.save(folder, overwrite=True)
    assert (folder / "delta.safetensors").read_bytes() != before


def test_an_initial_delta_is_overwritten(tmp_path):
    compiled = deltac.compile(tiny.spec("bert"), model=tiny.base("bert"))
    compiled.save(tmp_path / "delta")
    tiny.perturb(compiled).save(tmp_path / "delta")
    assert json.loads((tmp_path / "delta/manifest.json").read_text())["state"] == "trained"


def test_a_folder_of_something_else_is_never_replaced(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    compiled = tiny.compiled("bert")
    for overwrite in (False, True):
        tiny.refused(lambda: compiled.save(tmp_path, overwrite=overwrite), "DLT703")  # noqa: B023
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_the_same_spec_gives_the_same_bytes(tmp_path):
    files = [deltac.compile(tiny.spec("bert"), model=tiny.base("bert")).files() for _ in range(2)]
    assert files[0] == files[1]
    assert str(tmp_path.home()) not in files[0]["manifest.json"].decode()


def test_the_base_is_not_written(folder):
    names = set()
    for file in folder.rglob("*.safetensors"):
        names |= set(safetensors.torch.load_file(file))
    assert names == set(tiny.compiled("bert").parameters())


def test_save_pretrained_writes_the_delta(tmp_path):
    compiled = tiny.compiled("llama")
    compiled.model.save_pretrained(tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    loaded = deltac.load(tmp_path, model=tiny.base("llama"))
    assert torch.equal(tiny.logits(loaded.model), tiny.logits(compiled.model))


def test_a_config_file_is_not_needed_again(tmp_path):
    """The class and the number of labels that only the config file tells come back from the artifact."""
    source = deltac.plan({**tiny.spec("bert"), "model": {"source": tiny.MINILM}}).graph.config
    source = source.to_dict() | {"architectures": ["BertForSequenceClassification"]}
    source |= {"id2label": dict.fromkeys(range(5), "x"), "label2id": {"x": 0}}
    (tmp_path / "bert.json").write_text(json.dumps(source))
    delta = {"operator": "lora", "target": {"module": "self.query", "layers": 0}, "rank": 4}
    model = {"source": tiny.MINILM, "config_file": "bert.json"}
    spec = {"version": 1, "model": model, "deltas": [delta]}
    (tmp_path / "a.delta.yaml").write_text(json.dumps(spec))
    compiled = tiny.perturb(deltac.compile(tmp_path / "a.delta.yaml"))
    assert compiled.model.classifier.out_features == 5
    folder = compiled.save(tmp_path / "delta")
    (tmp_path / "bert.json").unlink()
    loaded = deltac.load(folder)
    assert torch.equal(tiny.logits(loaded.model), tiny.logits(compiled.model))


def test_a_dict_spec_is_not_changed(tmp_path):
    spec = tiny.spec("bert")
    before = copy.deepcopy(spec)
    deltac.compile(spec, model=tiny.base("bert"))
    assert spec == before
