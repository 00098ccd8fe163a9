"""Weight deltas on the experts of a mixture, whose matrices lie in one tensor: [experts, out, in]."""

import copy
import pickle

import pytest
import tiny
import torch

import deltac

_SMALL = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 37,
    "max_position_embeddings": 32,
    "dtype": "float64",
}
CONFIGS = {
    "mixtral": {**_SMALL, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {
        **_SMALL,
        "head_dim": 8,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 24,
    },
    # It keeps each matrix as [in, out], and `down_proj` is square.
    "gpt_oss": {
        **_SMALL,
        "intermediate_size": 16,
        "head_dim": 8,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
    },
}
EXPERTS = "model.layers.1.mlp.experts"
LORA = {"name": "low", "operator": "lora", "rank": 2, "alpha": 3.0}
each_model = pytest.mark.parametrize("name", ["mixtral", "qwen3_moe"])


def spec(name, *deltas):
    return {
        "version": 1,
        "model": {
            "class": "AutoModelForCausalLM",
            "config": {"model_type": name, **CONFIGS[name]},
        },
        "deltas": list(deltas),
    }


def perturbed(name, *deltas):
    """A compiled model whose added parameters are random, with the plain base that it was made from."""
    compiled = deltac.compile(spec(name, *deltas))
    with torch.random.fork_rng():
        torch.manual_seed(7)
        for parameter in compiled.parameters("factor").values():
            parameter.data = torch.randn_like(parameter.data) * 0.3
    return compiled


def run(model, experts="eager", **options):
    # The grouped kernel takes no float64.
    model.set_experts_implementation(experts)
    ids = torch.arange(20).reshape(2, 10) % 37
    return model(input_ids=ids, labels=ids, **options)


def values(compiled):
    return {n: p.detach().double() for n, p in compiled.model.named_parameters()}


def expected_weights(name, compiled, sites):
    """W' of each tensor by hand: `sites` are (tensor, part of the rows, experts)."""
    own, found = values(compiled), {}
    for tensor, part, experts in sites:
        path, _, parameter = tensor.rpartition(".")
        stem = "_".join(each for each in ("low", parameter, part) if each)
        a, b = own[f"{path}.{stem}_A"], own[f"{path}.{stem}_B"]
        w = found.setdefault(tensor, own[tensor].clone())
        half = w.shape[1] // 2
        rows = {"gate": slice(0, half), "up": slice(half, None), "": slice(None)}[part]
        for at, expert in enumerate(experts):
            change = 1.5 * b[at] @ a[at]
            if name == "gpt_oss":
                w[expert] += change.T
            else:
                w[expert, rows] += change
    return found


ALL = range(4)
CASES = {
    "down": ({"role": "moe.experts.down"}, [("down_proj", "", ALL)]),
    "gate": ({"role": "moe.experts.gate"}, [("gate_up_proj", "gate", ALL)]),
    "up": ({"role": "moe.experts.up", "experts": [1, -1]}, [("gate_up_proj", "up", [1, 3])]),
    "both": (
        {"role": ["moe.experts.gate", "moe.experts.up"]},
        [("gate_up_proj", "gate", ALL), ("gate_up_proj", "up", ALL)],
    ),
    "whole": ({"role": "moe.experts.gate-up", "experts": "0-1"}, [("gate_up_proj", "", [0, 1])]),
    "parameter": ({"parameter": "experts.down_proj", "experts": 2}, [("down_proj", "", [2])]),
}  # fmt: skip


def case(name, key):
    target, places = CASES[key]
    compiled = perturbed(name, {**LORA, "target": target})
    layers = [f"model.layers.{layer}.mlp.experts" for layer in (0, 1)]
    sites = [(f"{layer}.{own}", part, on) for layer in layers for own, part, on in places]
    return compiled, expected_weights(name, compiled, sites)


def plain(compiled, weights):
    """The base with these weights in the places of its own."""
    with compiled.disabled():
        config = copy.deepcopy(compiled.model.config)
    model = type(compiled.merge())(config).double().eval()
    own = compiled.model.state_dict()
    model.load_state_dict({n: own[n] for n in model.state_dict()} | weights)
    return model


@pytest.mark.parametrize("key", CASES)
@each_model
def test_the_model_computes_with_the_changed_tensors(name, key):
    compiled, weights = case(name, key)
    reference = plain(compiled, weights)
    found, wanted = run(compiled.model), run(reference)
    with compiled.disabled():
        base = run(compiled.model).logits
    assert not torch.allclose(base, wanted.logits)
    torch.testing.assert_close(found.logits, wanted.logits, rtol=1e-10, atol=1e-10)
    merged = compiled.merge()
    for tensor, value in weights.items():
        torch.testing.assert_close(merged.get_parameter(tensor), value, rtol=1e-10, atol=1e-10)


def test_gpt_oss_keeps_each_matrix_transposed():
    for key in ("down", "whole", "parameter"):
        compiled, weights = case("gpt_oss", key)
        reference = plain(compiled, weights)
        found, wanted = run(compiled.model).logits, run(reference).logits
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


@each_model
def test_one_experts_delta_changes_one_experts_weight(name):
    compiled = deltac.compile(spec(name, {**LORA, "target": {"role": "moe.experts.gate"}}))
    before = compiled.merge().state_dict()
    with torch.no_grad():
        b = compiled.model.get_parameter(f"{EXPERTS}.low_gate_up_proj_gate_B")
        b[2] = torch.randn_like(b[2])
    after = compiled.merge().state_dict()
    changed = {key: after[key] != value for key, value in before.items()}
    assert [key for key, where in changed.items() if where.any()] == [f"{EXPERTS}.gate_up_proj"]
    where = changed[f"{EXPERTS}.gate_up_proj"]
    assert where[2, : where.shape[1] // 2].all()
    where[2, : where.shape[1] // 2] = False
    assert not where.any()


@each_model
def test_the_base_is_there_bit_for_bit(name):
    target = {"role": ["moe.experts.gate", "moe.experts.down"], "experts": "first 3"}
    compiled = deltac.compile(spec(name, {**LORA, "target": target}))
    base = run(compiled.merge()).logits
    assert torch.equal(run(compiled.model).logits, base)  # B is zero at the start
    compiled = tiny.perturb(compiled)
    moved = run(compiled.model).logits
    assert not torch.allclose(moved, base)
    with compiled.disabled():
        assert torch.equal(run(compiled.model).logits, base)
        own = compiled.model.get_submodule(EXPERTS)
        assert own.down_proj is own._parameters["down_proj"]
    with compiled.merged():
        torch.testing.assert_close(run(compiled.model).logits, moved, rtol=1e-10, atol=1e-10)
    assert torch.equal(run(compiled.model).logits, moved)
    assert own.down_proj is own._parameters["down_proj"]  # W' is only shown to the forward


@each_model
def test_gradients_are_those_of_the_changed_tensor(name):
    compiled, weights = case(name, "up")
    reference = plain(compiled, weights)
    run(reference).loss.backward()
    run(compiled.model).loss.backward()
    whole = reference.get_parameter(f"{EXPERTS}.gate_up_proj").grad
    up = whole[[1, 3], whole.shape[1] // 2 :]
    own = [compiled.model.get_parameter(f"{EXPERTS}.low_gate_up_proj_up_{x}") for x in "AB"]
    a, b = (each.detach().double() for each in own)
    for found, wanted in zip(own, (1.5 * b.mT @ up, 1.5 * up @ a.mT), strict=True):
        assert wanted.abs().max() > 1e-6
        # The delta's own tensors, and so their gradients, are float32.
        torch.testing.assert_close(found.grad, wanted.float(), rtol=1e-5, atol=1e-9)
    assert compiled.model.get_parameter(f"{EXPERTS}.gate_up_proj").grad is None


@each_model
def test_every_way_of_running_the_experts_sees_the_change(name):
    compiled, _ = case(name, "both")
    eager = run(compiled.model.float()).logits
    for experts in ("batched_mm", "grouped_mm"):
        torch.testing.assert_close(run(compiled.model, experts).logits, eager, rtol=1e-4, atol=1e-4)


def test_it_copies_pickles_compiles_and_checkpoints():
    compiled, _ = case("mixtral", "both")
    model = compiled.model
    expected = run(model, "batched_mm")
    expected.loss.backward()
    grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    for made in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(run(made, "batched_mm").logits, expected.logits)
        assert list(made.state_dict()) == list(model.state_dict())
    torch._dynamo.reset()
    fast = torch.compile(model, fullgraph=True, backend="aot_eager")
    ids = torch.arange(20).reshape(2, 10) % 37
    torch.testing.assert_close(fast(input_ids=ids).logits, expected.logits, rtol=1e-8, atol=1e-8)
    model.zero_grad()
    model.activation_checkpointing_enable()
    run(model.train(), "batched_mm").loss.backward()
    for name, grad in grads.items():
        torch.testing.assert_close(model.get_parameter(name).grad, grad)


def test_the_plan_counts_each_experts_rank():
    target = {"role": ["moe.experts.gate", "moe.experts.down"], "experts": "0-2"}
    plan = deltac.plan(spec("mixtral", {**LORA, "target": target}))
    assert plan.matched["low"].sites[:2] == (
        "model.layers.0.mlp.experts.gate_up_proj[gate; experts 0-2]",
        "model.layers.0.mlp.experts.down_proj[experts 0-2]",
    )
    assert {tuple(new.shape) for *_, new in plan.added()} == {
        (3, 2, 16),
        (3, 24, 2),
        (3, 2, 24),
        (3, 16, 2),
    }
    assert plan.counts.factors == 2 * 2 * 3 * 2 * (16 + 24)


def test_two_deltas_share_a_tensor_where_their_experts_differ():
    first = {**LORA, "target": {"role": "moe.experts.down", "experts": "0-1"}}
    second = {
        **LORA,
        "name": "high",
        "rank": 4,
        "target": {"role": "moe.experts.down", "experts": "2-3"},
    }
    deltac.plan(spec("mixtral", first, second))
    second["target"] = {"role": "moe.experts.down", "experts": "1-3"}
    tiny.refused(lambda: deltac.plan(spec("mixtral", first, second)), "DLT401")


OPERATORS = [
    {"operator": "dora", "rank": 2},
    {"operator": "lora", "rank": 2, "init": "pissa"},
    {"operator": "vera", "rank": 4},
    {"operator": "oft", "block_size": 4},
    {"operator": "ia3"},
    {"operator": "full"},
    {"operator": "shira", "density": 0.1},
    {"operator": "loha", "rank": 2},
    {"operator": "fourierft", "frequencies": 20},
    {"operator": "hra", "rank": 2},
]


@pytest.mark.parametrize("delta", OPERATORS, ids=lambda delta: delta["operator"])
def test_other_operators_act_on_each_expert_as_on_a_linear(delta):
    target = {"role": "moe.experts.down", "layers": 1, "experts": [0, 2]}
    compiled = tiny.perturb(
        deltac.compile(spec("mixtral", {**delta, "target": target})), scale=0.02
    )
    with compiled.disabled():
        base = values(compiled)[f"{EXPERTS}.down_proj"]
    merged = compiled.merge()
    changed = (merged.get_parameter(f"{EXPERTS}.down_proj") != base).any(dim=(1, 2))
    assert changed.tolist() == [True, False, True, False]
    found, wanted = run(compiled.model).logits, run(merged).logits
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("code", "delta"),
    [
        ("DLT511", {"operator": "lora", "dropout": 0.1, "target": {"role": "moe.experts.down"}}),
        ("DLT511", {"operator": "lora", "gate": True, "target": {"role": "moe.experts.down"}}),
        ("DLT511", {"operator": "adalora", "target": {"role": "moe.experts.down"}}),
        ("DLT210", {"operator": "lora", "target": {"role": "moe.experts.down", "experts": "0-4"}}),
        ("DLT210", {"operator": "lora", "target": {"role": "attention.query", "experts": 0}}),
        ("DLT201", {"operator": "adapter", "target": {"role": "moe.experts.down"}}),
        ("DLT114", {"operator": "lora", "target": {"role": "moe.experts.down", "experts": "3-1"}}),
    ],
)
def test_what_experts_can_not_do_is_refused(code, delta):
    tiny.refused(lambda: deltac.plan(spec("mixtral", delta)), code)


@pytest.mark.parametrize("part", ["gate", "up"])
def test_gate_and_up_may_alternate(part):
    compiled = perturbed("gpt_oss", {**LORA, "target": {"role": f"moe.experts.{part}"}})
    own, name = values(compiled), f"{EXPERTS}.gate_up_proj"
    a, b = (own[f"{EXPERTS}.low_gate_up_proj_{part}_{x}"] for x in "AB")
    expected = own[name].clone()
    expected[:, :, part == "up" :: 2] += 1.5 * (b @ a).mT
    merged = compiled.merge()
    torch.testing.assert_close(merged.get_parameter(name), expected, rtol=1e-10, atol=1e-10)
    found, wanted = run(compiled.model).logits, run(merged).logits
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def test_an_artifact_loads_again(tmp_path):
    compiled, _ = case("mixtral", "up")
    compiled.save(tmp_path / "delta")
    base = compiled.merge_without(["low"])[0]
    again = deltac.load(tmp_path / "delta", model=base)
    assert torch.equal(run(again.model).logits, run(compiled.model).logits)
