"""Weights that are one tensor under two names: `tied: both` changes all uses, `tied: untie` the named one alone."""

import pytest
import tiny
import torch

import deltac

NAMES = {"gpt2": ("transformer.wte", "lm_head"), "llama": ("model.embed_tokens", "lm_head")}
TIED = {"gpt2": {}, "llama": {"tie_word_embeddings": True}}
CASES = [(name, side) for name in NAMES for side in (0, 1)]


def lora(module, tied):
    target = {"module": f"/{module}"}
    return {
        "operator": "lora",
        "rank": 3,
        "alpha": 6,
        "dtype": "base",
        "tied": tied,
        "target": target,
    }


def spec(name, *deltas):
    return tiny.spec(name, list(deltas), model=tiny.model_section(name, **TIED[name]))


def base(name):
    return tiny.base(name, dtype=torch.float64, **TIED[name])


def compiled(name, *deltas):
    return deltac.compile(spec(name, *deltas), model=base(name))


def changed(name, module, delta, owner):
    """The base with W + s B A in one module alone, or in all readers of W where `module` is None."""
    model = base(name)
    a, b = (delta.parameters()[f"{owner}.lora_{factor}"].detach() for factor in "AB")
    places = [module] if module else NAMES[name]
    weight = torch.nn.Parameter(model.get_submodule(places[0]).weight.detach() + 2.0 * (b @ a))
    for place in places:
        model.get_submodule(place).weight = weight
    return model


@pytest.mark.parametrize(("name", "side"), CASES)
def test_both_readers_see_the_change(name, side):
    module = NAMES[name][side]
    delta = compiled(name, lora(module, "both"))
    assert torch.equal(tiny.logits(delta.model), tiny.logits(base(name)))
    assert sorted(delta.parameters()) == [f"{module}.lora_A", f"{module}.lora_B"]
    assert delta.manifest["counts"]["delta"] == 3 * (67 + 32)
    tiny.perturb(delta)
    expected = changed(name, None, delta, module)
    torch.testing.assert_close(
        tiny.logits(delta.model), tiny.logits(expected), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize(("name", "side"), CASES)
def test_untie_changes_one_reader_alone(name, side):
    module = NAMES[name][side]
    delta = tiny.perturb(compiled(name, lora(module, "untie")))
    expected = tiny.logits(changed(name, module, delta, module))
    torch.testing.assert_close(tiny.logits(delta.model), expected, rtol=1e-10, atol=1e-10)
    assert not torch.allclose(expected, tiny.logits(changed(name, None, delta, module)))


def test_the_gradient_comes_from_both_uses():
    delta = tiny.perturb(compiled("gpt2", lora("lm_head", "both")))
    delta.model(**tiny.inputs(delta.model, labels=True)).loss.backward()
    model = changed("gpt2", None, delta, "lm_head")
    model(**tiny.inputs(model, labels=True)).loss.backward()
    a, b = (delta.parameters()[f"lm_head.lora_{factor}"] for factor in "AB")
    whole = model.lm_head.weight.grad
    torch.testing.assert_close(b.grad, 2.0 * whole @ a.T, rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(a.grad, 2.0 * b.T @ whole, rtol=1e-8, atol=1e-12)


def test_two_names_of_one_tensor_are_one_place():
    both = lora("lm_head", "both") | {"target": {"module": ["wte", "lm_head"]}}
    assert len(compiled("gpt2", both).parameters()) == 2
    apart = tiny.perturb(compiled("gpt2", both | {"tied": "untie"}))
    assert len(apart.parameters()) == 4


@pytest.mark.filterwarnings("ignore:.*DLT732")
@pytest.mark.parametrize("tied", ["both", "untie"])
def test_merging_keeps_the_tie_where_both_sides_changed(tied):
    delta = tiny.perturb(compiled("gpt2", lora("lm_head", tied)))
    before = tiny.logits(delta.model)
    with delta.merged():
        torch.testing.assert_close(tiny.logits(delta.model), before, rtol=1e-10, atol=1e-10)
    assert torch.equal(tiny.logits(delta.model), before)
    plain = delta.merge()
    torch.testing.assert_close(tiny.logits(plain), before, rtol=1e-10, atol=1e-10)
    assert (plain.lm_head.weight is plain.transformer.wte.weight) == (tied == "both")
    assert plain.config.tie_word_embeddings == (tied == "both")


def test_save_load_and_copy(tmp_path):
    import copy
    import pickle

    delta = tiny.perturb(compiled("gpt2", lora("lm_head", "both")))
    delta.save(tmp_path / "out")
    again = deltac.load(tmp_path / "out", model=base("gpt2"))
    before = tiny.logits(delta.model)
    assert torch.equal(tiny.logits(again.model), before)
    for other in (copy.deepcopy(delta.model), pickle.loads(pickle.dumps(delta.model))):
        assert torch.equal(tiny.logits(other), before)
        with torch.no_grad():
            other.lm_head.lora_B.zero_()  # one tensor: both readers lose the change
        assert torch.equal(tiny.logits(other), tiny.logits(base("gpt2")))


def test_a_head_that_is_tied_is_said_to_train_the_embedding():
    found = spec("gpt2", lora("c_attn", None)) | {"heads": ["lm_head"]}
    del found["deltas"][0]["tied"]
    found["deltas"][0]["target"] = {"module": "c_attn"}
    (warning,) = deltac.plan(found).warnings
    assert warning.code == "DLT410"
    assert "transformer.wte.weight" in warning.message
