"""A compile that fails at any stage leaves the caller's model, and the process, as they were."""

import random

import pytest
import tiny
import torch

import deltac
from deltac import api
from deltac.rewrite import apply as apply_module

QUERY = {"operator": "lora", "target": {"module": "self.query"}, "rank": 4}


def _bad(**changes):
    return tiny.spec("bert", QUERY | changes)


#: What the spec gets wrong → the codes of the refusal.
REFUSALS = {
    "selection": (_bad(target={"module": ["self.query", "valeu"]}), "DLT201"),
    "layers": (_bad(target={"module": "self.query", "layers": 7}), "DLT202"),
    "rank": (_bad(rank=64), "DLT301"),
    "no-weight": (_bad(target={"module": "attention.self"}), "DLT302"),
    "head": (_bad(target={"module": "classifier"}), "DLT404"),
    "tied-and-tuned": (
        tiny.spec("bert", [QUERY, {"operator": "tune", "target": {"module": "layer.0"}}]),
        "DLT403",
    ),
    "budget": (tiny.spec("bert", QUERY, budget={"trainable": "0.1%"}), "DLT407"),
    "position": (
        tiny.spec("bert", {"operator": "adapter", "target": {"module": "attention.output"}}),
        "DLT501",
    ),
    "dropout": (
        tiny.spec("bert", QUERY | {"dropout": 0.1, "target": {"module": "word_embeddings"}}),
        "DLT506",
    ),
    "other-config": (
        tiny.spec("bert", QUERY, model=tiny.model_section("bert", num_labels=5)),
        "DLT507",
    ),
}


class _Fault(Exception):  # noqa: N818 - raised by no one but the tests
    pass


def _fail_after(calls):
    """A function that works `calls` times and fails then, given the function that it replaces."""

    def make(original):
        left = [calls]

        def replaced(*args, **kwargs):
            if left[0] == 0:
                raise _Fault
            left[0] -= 1
            return original(*args, **kwargs)

        return replaced

    return make


#: Where → module or class, attribute, number of calls that succeed first.
FAULTS = {
    "first-value": (api, "initial_value", 0),
    "a-later-value": (api, "initial_value", 9),
    "first-class": (apply_module, "region_class", 0),
    "a-later-class": (apply_module, "region_class", 5),
    "first-parameter": (torch.nn.Module, "register_parameter", 0),
    "a-later-parameter": (torch.nn.Module, "register_parameter", 7),
    "structure": (api, "verify_structure", 0),
    "root-class": (api, "root_class", 0),
    "hash": (api, "content_of", 0),
    "tensor-files": (api, "tensor_files", 0),
}


def _everything(model):
    """The model and the process's random state."""
    return tiny.snapshot(model), random.getstate(), torch.get_rng_state().tolist()


def _prepared_base():
    """A base with what a caller may have done to it: hooks, flags, a gradient, modes."""
    model = tiny.base("bert").train()
    model.bert.encoder.layer[0].eval()
    model.bert.encoder.layer[1].attention.self.query.register_forward_hook(lambda *_: None)
    model.bert.encoder.layer[0].register_forward_pre_hook(lambda *_: None)
    model.bert.embeddings.requires_grad_(False)
    model.bert.pooler.dense.weight.grad = torch.ones_like(model.bert.pooler.dense.weight)
    model.bert.note = "mine"
    return model


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_leaves_the_model_alone(name):
    spec, code = REFUSALS[name]
    model = _prepared_base()
    before = _everything(model)
    tiny.refused(lambda: deltac.compile(spec, model=model), code)
    assert _everything(model) == before


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_leaves_the_model_alone(name, monkeypatch):
    owner, attribute, calls = FAULTS[name]
    model = _prepared_base()
    before = _everything(model)
    spec = tiny.spec("bert")
    on_shapes = api._verified_skeleton

    def arm(prepared):
        """The fault comes after the trial on shapes, while the caller's own model is changed."""
        skeleton = on_shapes(prepared)
        monkeypatch.setattr(owner, attribute, _fail_after(calls)(getattr(owner, attribute)))
        return skeleton

    monkeypatch.setattr(api, "_verified_skeleton", arm)
    with pytest.raises(_Fault):
        deltac.compile(spec, model=model)
    monkeypatch.undo()
    assert _everything(model) == before
    second = deltac.compile(spec, model=model)
    first = deltac.compile(spec, model=_prepared_base())
    _same(second, first)


@pytest.mark.parametrize("name", REFUSALS)
def test_a_second_try_equals_a_first(name):
    spec, _ = REFUSALS[name]
    model = tiny.base("bert")
    with pytest.raises(deltac.DeltacError):
        deltac.compile(spec, model=model)
    mended = tiny.spec("bert")
    _same(deltac.compile(mended, model=model), deltac.compile(mended, model=tiny.base("bert")))


def _same(left, right):
    assert tiny.same_bits(tiny.state(left.model), tiny.state(right.model))
    assert left.manifest == right.manifest
    flags = [
        [(n, p.requires_grad) for n, p in each.model.named_parameters()] for each in (left, right)
    ]
    assert flags[0] == flags[1]
    tiny.perturb(left)
    tiny.perturb(right)
    assert torch.equal(tiny.logits(left.model.eval()), tiny.logits(right.model.eval()))


def test_a_fault_while_values_of_an_artifact_are_copied(tmp_path, monkeypatch):
    tiny.compiled("bert").save(tmp_path / "delta")
    model = tiny.base("bert")
    before = _everything(model)
    monkeypatch.setattr(api, "root_class", _fail_after(0)(api.root_class))
    with pytest.raises(_Fault):
        deltac.load(tmp_path / "delta", model=model)
    assert _everything(model) == before


def test_compiling_twice_is_refused():
    compiled = tiny.compiled("bert")
    before = _everything(compiled.model)
    tiny.refused(lambda: deltac.compile(tiny.spec("bert"), model=compiled.model), "DLT505")
    assert _everything(compiled.model) == before


def test_a_model_without_values_is_refused():
    with torch.device("meta"):
        model = tiny.base("llama").to("meta")
    before = tiny.snapshot(model)
    tiny.refused(lambda: deltac.compile(tiny.spec("llama"), model=model), "DLT808")
    assert tiny.snapshot(model) == before


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_default_device_and_dtype_change_no_initial_value(device, monkeypatch):
    expected = deltac.compile(tiny.spec("llama"), model=tiny.base("llama"))
    base = tiny.base("llama")
    dtype = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        with torch.device(device):
            found = deltac.compile(tiny.spec("llama"), model=base)
    finally:
        torch.set_default_dtype(dtype)
    assert tiny.same_bits(tiny.state(found.model), tiny.state(expected.model))


def test_success_leaves_the_random_state_alone():
    for model in (tiny.base("t5"), None):
        spec = tiny.spec("t5")
        before = random.getstate(), torch.get_rng_state()
        deltac.compile(spec, model=model)
        assert random.getstate() == before[0]
        assert torch.equal(torch.get_rng_state(), before[1])


def test_no_value_of_the_base_changes():
    model = _prepared_base()
    values, modes = tiny.state(model), [module.training for module in model.modules()]
    deltac.compile(tiny.spec("bert"), model=model)
    after = tiny.state(model)
    assert all(torch.equal(after[name], value) for name, value in values.items())
    assert [module.training for module in model.modules()] == modes
