"""The model stays the model: class, names, signature, recorded outputs, generation, disabled()."""

import inspect

import pytest
import tiny
import torch
import transformers

import deltac


def test_class_names_and_signature(architecture):
    base = tiny.base(architecture)
    cls, keys = type(base), list(base.state_dict())
    names = [name for name, _ in base.named_parameters()]
    classes = [(path, type(module)) for path, module in base.named_modules()]
    signatures = [inspect.signature(module.forward) for module in base.modules()]
    compiled = deltac.compile(tiny.spec(architecture), model=base)
    model = compiled.model
    assert model is base
    assert isinstance(model, cls)
    assert type(model).__name__ == cls.__name__
    assert type(model).__qualname__ == cls.__qualname__
    assert type(model).__module__ == cls.__module__
    added = set(compiled.parameters("added")) | set(compiled.parameters("factor"))
    assert added
    assert [key for key in model.state_dict() if key not in added] == keys
    assert [name for name, _ in model.named_parameters() if name not in added] == names
    now = dict(model.named_modules())
    assert list(now) == [path for path, _ in classes]
    assert all(isinstance(now[path], kind) for path, kind in classes)
    assert all(type(now[path]).__name__ == kind.__name__ for path, kind in classes)
    assert [inspect.signature(module.forward) for module in model.modules()] == signatures
    assert model.main_input_name == cls.main_input_name
    assert model.get_input_embeddings() is not None


def test_hidden_states_and_attentions_are_recorded(architecture):
    base = tiny.base(architecture, attn_implementation="eager")
    wanted = {"output_hidden_states": True, "output_attentions": True}
    with torch.no_grad():
        before = base(**tiny.inputs(base), **wanted)
        compiled = tiny.perturb(deltac.compile(tiny.spec(architecture), model=base))
        after = compiled.model(**tiny.inputs(base), **wanted)
        plain = compiled.model(**tiny.inputs(base))
    assert type(after) is type(before)
    recorded = [key for key in before if key.endswith(("hidden_states", "attentions"))]
    assert len(recorded) >= 2
    for key in recorded:
        old, new = before[key], after[key]
        assert len(old) == len(new)
        assert [t.shape for t in old] == [t.shape for t in new]
    assert any(
        not torch.equal(a, b)
        for key in recorded
        for a, b in zip(before[key], after[key], strict=True)
    ), "the delta does not show in what is recorded"
    assert torch.equal(after.logits, plain.logits)


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
@pytest.mark.parametrize("beams", [1, 2])
def test_generate_with_and_without_cache(name, beams):
    compiled = tiny.compiled(name)
    model, given = compiled.model, tiny.inputs(compiled.model)
    mask = given["attention_mask"].flip(1)  # generation wants its padding on the left
    options = {"max_new_tokens": 8, "do_sample": False, "num_beams": beams, "pad_token_id": 0}
    if name == "t5":
        options["decoder_start_token_id"] = 0
    options |= {"input_ids": given["input_ids"], "attention_mask": mask, "eos_token_id": None}
    with_cache = model.generate(**options, use_cache=True)
    without = model.generate(**options, use_cache=False)
    assert torch.equal(with_cache, without)
    assert with_cache.shape[1] >= 8
    with compiled.disabled():
        assert not torch.equal(model.generate(**options), with_cache), "the delta has no effect"


def test_disabled_is_the_base_bit_for_bit(architecture):
    base = tiny.base(architecture)
    before, kept = tiny.logits(base), tiny.state(base)
    compiled = deltac.compile(tiny.spec(architecture), model=base)
    tiny.perturb(compiled)
    ids = {name: id(p) for name, p in base.named_parameters()}
    changed, moved = tiny.logits(base), tiny.state(base)
    assert not torch.equal(changed, before)
    with compiled.disabled() as model:
        assert model is base
        assert torch.equal(tiny.logits(model), before)
        assert {n: id(p) for n, p in model.named_parameters()} == ids
        inside = tiny.state(model)
        assert all(torch.equal(inside[name], kept[name]) for name in kept)
        with compiled.disabled():
            assert torch.equal(tiny.logits(model), before)
        assert torch.equal(tiny.logits(model), before), "an inner block switched the delta on"
    assert torch.equal(tiny.logits(base), changed)
    assert tiny.same_bits(tiny.state(base), moved)


@pytest.fixture(autouse=True)
def _heads_keep_their_values(monkeypatch):
    """`disabled()` keeps trained heads, so a comparison with the base must leave them alone."""
    original = tiny.perturb

    def perturb(compiled, *args, **kwargs):
        heads = {name: p.detach().clone() for name, p in compiled.parameters("heads").items()}
        original(compiled, *args, **kwargs)
        with torch.no_grad():
            for name, value in heads.items():
                compiled.model.get_parameter(name).copy_(value)
        return compiled

    monkeypatch.setattr(tiny, "perturb", perturb)


def test_disabled_ends_with_an_exception(compiled):
    before, state = tiny.logits(compiled.model), tiny.state(compiled.model)
    with pytest.raises(ZeroDivisionError), compiled.disabled():
        1 / 0  # noqa: B018
    assert torch.equal(tiny.logits(compiled.model), before)
    assert tiny.same_bits(tiny.state(compiled.model), state)


def test_writing_inside_disabled_does_not_reach_the_kept_originals(compiled):
    with compiled.disabled():
        before = tiny.logits(compiled.model)
        with torch.no_grad():
            for parameter in compiled.parameters("tuned").values():
                parameter.add_(1.0)
    with compiled.disabled():
        assert torch.equal(tiny.logits(compiled.model), before)


def test_saving_inside_disabled_saves_the_trained_values(compiled, tmp_path):
    outside = compiled.files()
    with compiled.disabled():
        assert compiled.files() == outside


def test_disabled_keeps_trained_heads():
    compiled = deltac.compile(tiny.spec("bert"), model=tiny.base("bert"))
    with torch.no_grad():
        compiled.model.classifier.bias.add_(1.0)
    value = compiled.model.classifier.bias.detach().clone()
    with compiled.disabled():
        assert torch.equal(compiled.model.classifier.bias, value)


@pytest.mark.parametrize("order", [(True, False), (False, True)])
def test_train_and_eval_in_both_orders(architecture, order):
    spec = tiny.spec(architecture)
    spec["deltas"][0] = spec["deltas"][0] | {"dropout": 0.5}
    if "word_embeddings" in spec["deltas"][0]["target"]["module"]:
        spec["deltas"][0]["target"] = {"module": "self.query"}
    base = tiny.base(architecture).train(order[0])
    compiled = tiny.perturb(deltac.compile(spec, model=base))
    assert all(module.training == order[0] for module in base.modules()), "the mode changed"
    base.eval()
    first = tiny.logits(base)
    assert torch.equal(tiny.logits(base), first), "evaluation is not deterministic"
    base.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert not torch.equal(tiny.logits(base), first), "training has no dropout"
    base.train(order[1]).eval()
    assert torch.equal(tiny.logits(compiled.model), first)


def test_parameter_groups_hold_each_parameter_once(compiled):
    groups = compiled.parameter_groups(lr=0.1, weight_decay=0.5, tuned_lr=0.2, heads_lr=0.3)
    found = [id(parameter) for group in groups for parameter in group["params"]]
    trainable = [id(p) for p in compiled.model.parameters() if p.requires_grad]
    assert sorted(found) == sorted(trainable)
    assert len(set(found)) == len(found)
    rates = {"added": 0.1, "factor": 0.1, "tuned": 0.2, "heads": 0.3}
    expected = {id(p): r for part, r in rates.items() for p in compiled.parameters(part).values()}
    for group in groups:
        for parameter in group["params"]:
            assert group["lr"] == expected[id(parameter)]
            assert group["weight_decay"] == (0.5 if parameter.dim() > 1 else 0.0)
    torch.optim.AdamW(groups)


def test_the_output_class_and_config_are_the_bases(compiled):
    model = compiled.model
    assert isinstance(model, transformers.PreTrainedModel)
    assert model.config.model_type in tiny.ARCHITECTURES
    with torch.no_grad():
        outputs = model(**tiny.inputs(model, labels=True))
    assert isinstance(outputs, transformers.utils.ModelOutput)
    assert outputs.loss.isfinite()
