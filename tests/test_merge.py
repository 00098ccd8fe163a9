"""Merging: a plain model, a context that gives the base back, and what stays where not everything can be merged."""

import copy
import pickle

import pytest
import tiny
import torch
import transformers
from torch import nn

import deltac
from deltac.model.quiet import quiet
from deltac.rewrite.fold import Change, Fold

LOW = {"name": "low", "operator": "lora", "target": {"module": ["q_proj", "v_proj"]}, "rank": 4}
NORMS = {"name": "norms", "operator": "tune", "target": {"module": "input_layernorm"}}
BOTTLE = {"name": "bottle", "operator": "adapter", "target": {"module": "mlp"}, "bottleneck": 8}
MERGEABLE = {
    "llama": [LOW, NORMS],
    "gpt2": [tiny.ARCHITECTURES["gpt2"]["deltas"][0], tiny.ARCHITECTURES["gpt2"]["deltas"][2]],
    "bert": [tiny.ARCHITECTURES["bert"]["deltas"][0], tiny.ARCHITECTURES["bert"]["deltas"][2]],
    "t5": [tiny.ARCHITECTURES["t5"]["deltas"][0], tiny.ARCHITECTURES["t5"]["deltas"][3]],
}

each_architecture = pytest.mark.parametrize("name", tiny.ARCHITECTURES)


def close(left, right):
    """Equal but for the order of float32 sums."""
    return torch.allclose(left, right, rtol=1e-5, atol=1e-6)


def reloaded(model, folder):
    with quiet():
        model.save_pretrained(folder)
        return type(model).from_pretrained(folder)


def bits(model):
    return {name: (id(p), p.detach().clone()) for name, p in model.named_parameters()}


def unchanged(before, model):
    after = dict(model.named_parameters())
    return before.keys() == after.keys() and all(
        id(after[name]) == number and torch.equal(after[name], value)
        for name, (number, value) in before.items()
    )


@each_architecture
def test_a_merged_model_is_plain_and_loads_anywhere(name, tmp_path):
    compiled = tiny.compiled(name, MERGEABLE[name])
    before, expected = bits(compiled.model), tiny.logits(compiled.model)
    merged, base = compiled.merge(), tiny.base(name)
    assert type(merged) is type(base)
    assert [type(m) for m in merged.modules()] == [type(m) for m in base.modules()]
    assert list(merged.state_dict()) == list(base.state_dict())
    assert not torch.allclose(tiny.logits(base), expected), "the delta does nothing: an empty test"
    assert close(tiny.logits(merged), expected)
    again = reloaded(merged, tmp_path / "merged")
    assert torch.equal(tiny.logits(again), tiny.logits(merged))
    assert unchanged(before, compiled.model)
    assert torch.equal(tiny.logits(compiled.model), expected)


def test_nothing_of_deltac_is_left_in_a_merged_model():
    merged = tiny.compiled("bert", MERGEABLE["bert"]).merge()
    for module in merged.modules():
        assert not [name for name in vars(module) if name.startswith("delta")]
        assert "save_pretrained" not in vars(module)
        assert type(module).__module__.startswith(("torch.", "transformers."))
        own = [module._parameters, module._buffers]
        assert all(
            type(value) in (nn.Parameter, torch.Tensor)
            for values in own
            for value in values.values()
            if value is not None
        )
    assert b"deltac" not in pickle.dumps(merged)
    deltac.compile(tiny.spec("bert"), model=merged)  # it can be a base again


def test_a_merged_model_shares_nothing_with_the_compiled_one():
    compiled = tiny.compiled("llama", MERGEABLE["llama"])
    expected = tiny.logits(compiled.model)
    merged = compiled.merge()
    assert merged.config is not compiled.model.config
    merged.config.vocab_size = 1
    with torch.no_grad():
        for tensor in merged.state_dict().values():
            tensor.zero_()
    assert torch.equal(tiny.logits(compiled.model), expected)
    assert compiled.model.config.vocab_size == 67
    assert all(p.requires_grad for p in merged.parameters())


def test_weights_are_computed_in_float32_and_cast_once():
    spec = tiny.spec("llama", [{**LOW, "alpha": 3.0}, {**LOW, "name": "twice", "overlap": True}])
    compiled = tiny.perturb(deltac.compile(spec, model=tiny.base("llama", dtype=torch.bfloat16)))
    merged = compiled.merge()
    module = compiled.model.model.layers[1].self_attn.q_proj
    exact = module.weight.double()
    exact = exact + 3.0 / 4 * (module.low_B.double() @ module.low_A.double())
    exact = exact + module.twice_B.double() @ module.twice_A.double()
    found = merged.model.layers[1].self_attn.q_proj.weight
    assert found.dtype == torch.bfloat16
    # A value between two numbers of bfloat16 may fall to either side; nearly none lies so close to the middle.
    assert (found == exact.to(torch.bfloat16)).double().mean() > 0.999
    ulp = exact.abs().to(torch.bfloat16).double() * 2.0**-8
    assert ((found.double() - exact).abs() <= 0.5001 * ulp.clamp(min=1e-30) * 2).all()


def test_operators_at_one_weight_merge_in_the_order_of_the_spec():
    first, second = LOW, {**LOW, "name": "second", "overlap": True, "alpha": 2.0}
    compiled = tiny.compiled("llama", [first, second])
    assert close(tiny.logits(compiled.merge()), tiny.logits(compiled.model))


def test_heads_are_kept_as_trained():
    compiled = tiny.compiled("bert", MERGEABLE["bert"])
    merged = compiled.merge()
    heads = compiled.parameters("heads")
    assert heads
    for name, parameter in heads.items():
        assert torch.equal(merged.get_parameter(name), parameter)


def test_dropout_does_not_reach_the_merge():
    compiled = tiny.compiled("llama", {**LOW, "dropout": 0.5})
    expected = tiny.logits(compiled.model.eval())
    compiled.model.train()
    merged = compiled.merge()
    assert merged.training
    assert close(tiny.logits(merged.eval()), expected)


def test_merging_a_copy_a_pickle_or_a_loaded_delta(tmp_path):
    compiled = tiny.compiled("llama", MERGEABLE["llama"])
    expected = tiny.logits(compiled.merge())
    compiled.save(tmp_path / "delta")
    others = [
        deltac.Compiled(copy.deepcopy(compiled.model)),
        deltac.Compiled(pickle.loads(pickle.dumps(compiled.model))),
        deltac.load(tmp_path / "delta", model=tiny.base("llama")),
    ]
    for other in others:
        assert torch.equal(tiny.logits(other.merge()), expected)


@each_architecture
def test_merged_shows_the_merged_weights_and_gives_the_base_back(name):
    compiled = tiny.compiled(name, MERGEABLE[name])
    before, expected = bits(compiled.model), tiny.logits(compiled.model)
    merged = tiny.logits(compiled.merge())
    with compiled.merged() as model:
        assert model is compiled.model
        assert torch.equal(tiny.logits(model), merged)
    assert unchanged(before, compiled.model)
    assert torch.equal(tiny.logits(compiled.model), expected)


def test_merged_runs_the_code_of_the_base():
    compiled = tiny.compiled("llama", [LOW])
    called = []
    module = compiled.model.model.layers[0].self_attn.q_proj
    original, hook = nn.functional.linear, lambda *args: called.append(args[1]) or original(*args)
    with compiled.merged(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.functional, "linear", hook)
        module(torch.ones(1, 32))
        assert len(called) == 1
        assert called[0] is module.weight


def test_fifty_rounds_in_bfloat16_change_no_bit():
    spec = tiny.spec("llama", MERGEABLE["llama"])
    compiled = tiny.perturb(deltac.compile(spec, model=tiny.base("llama", dtype=torch.bfloat16)))
    before = bits(compiled.model)
    for _ in range(50):
        with compiled.merged():
            pass
    assert unchanged(before, compiled.model)


def test_merged_restores_after_an_exception():
    compiled = tiny.compiled("llama", MERGEABLE["llama"])
    before, expected = bits(compiled.model), tiny.logits(compiled.model)
    with pytest.raises(KeyError), compiled.merged():
        raise KeyError
    with pytest.raises(KeyError), compiled.merged(), compiled.disabled():
        raise KeyError
    assert unchanged(before, compiled.model)
    assert torch.equal(tiny.logits(compiled.model), expected)


def test_of_nested_blocks_the_innermost_holds():
    compiled = tiny.compiled("llama", MERGEABLE["llama"])
    before, model = bits(compiled.model), compiled.model
    delta, merged = tiny.logits(model), tiny.logits(compiled.merge())
    base = tiny.logits(tiny.base("llama"))
    with compiled.merged(), compiled.merged():
        assert torch.equal(tiny.logits(model), merged)
    with compiled.merged():
        with compiled.disabled():
            assert torch.equal(tiny.logits(model), base)
            with compiled.merged():
                assert torch.equal(tiny.logits(model), merged)
            assert torch.equal(tiny.logits(model), base)
        assert torch.equal(tiny.logits(model), merged)
    with compiled.disabled():
        with compiled.merged():
            assert torch.equal(tiny.logits(model), merged)
        assert torch.equal(tiny.logits(model), base)
    assert torch.equal(tiny.logits(model), delta)
    assert unchanged(before, model)


def test_merging_and_saving_inside_of_blocks_mean_the_delta(tmp_path):
    compiled = tiny.compiled("llama", MERGEABLE["llama"])
    expected, files = tiny.logits(compiled.merge()), compiled.files()
    for block in (compiled.merged, compiled.disabled):
        with block():
            assert compiled.files() == files
            assert torch.equal(tiny.logits(compiled.merge()), expected)


def test_a_write_to_a_merged_weight_does_not_reach_the_base():
    compiled = tiny.compiled("llama", [LOW])
    before = bits(compiled.model)
    with compiled.merged() as model, torch.no_grad():
        model.model.layers[0].self_attn.q_proj.weight.zero_()
    assert unchanged(before, compiled.model)


def test_training_goes_on_after_merged():
    compiled = tiny.compiled("llama", MERGEABLE["llama"])
    with compiled.merged():
        first = tiny.logits(compiled.model)
    batch = tiny.inputs(compiled.model, labels=True)
    optimizer = torch.optim.SGD(compiled.parameter_groups(lr=1.0))
    compiled.model(**batch).loss.backward()
    optimizer.step()
    with compiled.merged():
        second = tiny.logits(compiled.model)
    assert not torch.allclose(first, second)
    assert close(second, tiny.logits(compiled.model))


def test_what_cannot_be_merged_says_so_all_at_once():
    output = {**BOTTLE, "name": "second", "target": {"module": "self_attn"}}
    compiled = tiny.compiled("llama", [LOW, BOTTLE, output, NORMS])
    error = tiny.refused(compiled.merge, "DLT731")
    assert "'bottle' can't be merged at model.layers.{0-2}.mlp: it computes" in str(error)
    assert "'second' can't be merged at model.layers.{0-2}.self_attn: it computes" in str(error)
    with pytest.raises(deltac.DeltacError), compiled.merged():
        pass
    assert set(compiled.unmergeable()) == {"bottle", "second"}


def test_an_added_bias_cannot_be_merged_where_the_class_has_none():
    delta = {"operator": "bitfit", "add": True, "target": {"module": "self_attn"}}
    compiled = tiny.compiled("llama", delta)
    tiny.refused(compiled.merge, "DLT731")
    assert "has no place" in compiled.unmergeable()["bitfit"][0]


@each_architecture
def test_the_rest_stays_a_delta_on_the_merged_base(name, tmp_path):
    compiled = tiny.compiled(name)
    expected, before = tiny.logits(compiled.model), bits(compiled.model)
    stay = compiled.unmergeable()
    assert 0 < len(stay) < len(compiled.manifest["deltas"])
    rest = deltac.merge_partly(compiled)
    assert [delta["name"] for delta in rest.manifest["deltas"]] == list(stay)
    assert torch.allclose(tiny.logits(rest.model), expected, rtol=1e-4, atol=1e-5)
    assert rest.manifest["base"]["weights"] != compiled.manifest["base"]["weights"]
    assert unchanged(before, compiled.model)
    kept, values = rest.tensors(), compiled.tensors()
    assert kept
    assert all(torch.equal(values[key], kept[key]) for key in kept)
    # The rest is an artifact like any other: it loads on the merged base, and on no other.
    rest.save(tmp_path / "rest")
    base = reloaded(compiled.merge_without(stay)[0], tmp_path / "base")
    loaded = deltac.load(tmp_path / "rest", model=base)
    assert loaded.checked == ("structure", "weights")
    assert torch.equal(tiny.logits(loaded.model), tiny.logits(rest.model))
    tiny.refused(lambda: deltac.load(tmp_path / "rest", model=tiny.base(name)), "DLT716")


def test_a_delta_that_stays_keeps_the_base_values_of_what_it_tunes():
    deltas = [LOW, {"operator": "bitfit", "add": True, "target": {"module": "attention"}}]
    deltas[0] = {**LOW, "target": {"module": "self.query"}}
    compiled = tiny.compiled("bert", [*deltas[:1], tiny.ARCHITECTURES["bert"]["deltas"][1]])
    assert close(tiny.logits(deltac.merge_partly(compiled).model), tiny.logits(compiled.model))
    biases = {**tiny.ARCHITECTURES["t5"]["deltas"][2], "target": {"module": ["encoder"]}}
    mixed = tiny.compiled("t5", [tiny.ARCHITECTURES["t5"]["deltas"][0], biases])
    rest = deltac.merge_partly(mixed)
    assert torch.allclose(tiny.logits(rest.model), tiny.logits(mixed.model), rtol=1e-4, atol=1e-5)


def fold(first_additive, second_additive, **more):
    """Two deltas at one weight, and what else the first one does."""
    changes = [
        Change(delta, "w", None, None, (), additive)
        for delta, additive in (("first", first_additive), ("second", second_additive))
    ]
    return Fold(("first", "second"), tuple(changes), **more)


def test_what_acts_behind_a_delta_that_stays_stays_too():
    why = {"first": {"it says so": ["elsewhere"]}}
    assert set(fold(True, True, blocked=why).staying()) == {"first"}
    assert set(fold(True, False, blocked=why).staying()) == {"first", "second"}
    assert set(fold(False, True, blocked=why).staying()) == {"first", "second"}
    later = {"second": {"it says so": ["elsewhere"]}}
    assert set(fold(False, False, blocked=later).staying()) == {"second"}


def test_what_changes_a_parameter_that_a_staying_delta_tunes_stays_too():
    why = {"second": {"it says so": ["elsewhere"]}}
    found = fold(True, True, blocked=why, tuned={"second": ("w",)}).staying()
    assert found["first"] == {"it acts on what 'second' gives, which stays": ["w"]}


def test_where_nothing_can_be_merged_there_is_no_rest():
    tiny.refused(lambda: deltac.merge_partly(tiny.compiled("llama", [BOTTLE])), "DLT731")


def test_where_everything_can_be_merged_the_rest_has_no_delta():
    compiled = tiny.compiled("llama", MERGEABLE["llama"])
    rest = deltac.merge_partly(compiled)
    assert rest.manifest["deltas"] == []
    assert close(tiny.logits(rest.model), tiny.logits(compiled.model))


def test_a_tensor_tuned_for_all_its_uses_stays_one(tmp_path):
    delta = {"operator": "tune", "target": {"module": "/model.embed_tokens"}}
    base = tiny.base("llama", tie_word_embeddings=True)
    spec = tiny.spec("llama", delta)
    del spec["model"]
    compiled = tiny.perturb(deltac.compile(spec, model=base))
    merged = compiled.merge()
    assert merged.lm_head.weight is merged.model.embed_tokens.weight
    assert merged.config.tie_word_embeddings
    assert torch.equal(
        tiny.logits(reloaded(merged, tmp_path / "merged")), tiny.logits(compiled.model)
    )


def test_inner_models_refuse_to_be_saved(tmp_path):
    compiled = tiny.compiled("t5")
    for inner in (compiled.model.encoder, compiled.model.decoder):
        tiny.refused(lambda inner=inner: inner.save_pretrained(tmp_path / "inner"), "DLT734")
    copied = pickle.loads(pickle.dumps(copy.deepcopy(compiled.model)))
    tiny.refused(lambda: copied.encoder.save_pretrained(tmp_path / "inner"), "DLT734")
    assert not (tmp_path / "inner").exists()
    assert isinstance(compiled.model.encoder, transformers.PreTrainedModel)


def test_offloaded_values_are_refused():
    compiled = tiny.compiled("llama", [LOW])
    compiled.model.to("meta")
    tiny.refused(compiled.merge, "DLT707")
    with pytest.raises(deltac.DeltacError, match="DLT707"), compiled.merged():
        pass


def test_parts_of_a_fused_projection_merge_into_their_rows(tmp_path):
    target = {"role": ["attention.query", "attention.value"]}
    compiled = tiny.compiled("gpt2", {**LOW, "target": target})
    base, merged = tiny.base("gpt2"), compiled.merge()
    before = base.transformer.h[0].attn.c_attn.weight
    after = merged.transformer.h[0].attn.c_attn.weight
    assert torch.equal(after[:, 32:64], before[:, 32:64])  # the keys
    assert not torch.allclose(after[:, :32], before[:, :32])
    assert close(tiny.logits(merged), tiny.logits(compiled.model))
