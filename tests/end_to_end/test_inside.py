"""Adapters inside the forward of a module: on the sum of a sub-layer's output and the residual."""

import copy
import pickle

import accelerate
import interior_models as models
import pytest
import tiny
import torch
from torch.nn import functional as F

import deltac
from deltac.model.fold import fold

ADAPTER = {
    "name": "bottle",
    "operator": "adapter",
    "bottleneck": 8,
    "position": "after-residual",
    "activation": "gelu",  # the one token that BERT's head sees may put every relu at zero
}
#: Model → the sub-layer whose sum lies inside a forward.
PLACES = {
    "llama": "self_attn",
    "gpt2": "attn",
    "bert": "layer.*.output.dense",
    "t5": "layer.0.SelfAttention",
}


def compiled(name, **more):
    return tiny.compiled(name, ADAPTER | {"target": {"module": PLACES[name]}} | more)


@pytest.fixture(params=["llama", "gpt2", "bert"])
def name(request):
    return request.param


def _adapter(module, part, x):
    p = {n: getattr(module, f"bottle_{part}_{n}") for n in ("down", "down_bias", "up", "up_bias")}
    return x + F.linear(F.gelu(F.linear(x, p["down"], p["down_bias"])), p["up"], p["up_bias"])


@torch.no_grad()
def test_bert_by_hand():
    """Before the layer norm, on the sum."""
    model = compiled("bert").model
    output = model.bert.encoder.layer[1].output
    h, residual = torch.randn(2, 5, 48), torch.randn(2, 5, 32)
    expected = output.LayerNorm(_adapter(output, "dense", output.dense(h) + residual))
    assert torch.allclose(output(h, residual), expected, atol=1e-6)
    assert not torch.allclose(output.LayerNorm(output.dense(h) + residual), expected, atol=1e-2)


@torch.no_grad()
def test_llama_by_hand():
    """The changed sum is what the MLP reads, and the residual that it is added to."""
    model = compiled("llama").model
    layer = model.model.layers[1]
    x = torch.randn(1, 4, 32)
    rotary = model.model.rotary_emb(x, torch.arange(4)[None])
    attended = layer.self_attn(layer.input_layernorm(x), rotary, None)[0]
    middle = _adapter(layer, "self_attn", x + attended)
    expected = middle + layer.mlp(layer.post_attention_layernorm(middle))
    assert torch.allclose(layer(x, position_embeddings=rotary), expected, atol=1e-6)


@torch.no_grad()
def test_beside_berts_mlp_by_hand():
    """The MLP is two linears of the layer: what is added comes from its input, before dropout, sum and norm."""
    beside = {"insertion": "parallel", "scale": 4.0, "position": "before-residual"}
    target = {"role": "mlp"}
    delta = tiny.compiled("bert", ADAPTER | beside | {"target": target})
    layer, x = delta.model.bert.encoder.layer[1], torch.randn(2, 5, 32)
    names = [row["name"] for row in delta.manifest["tensors"] if row["set"] == "added"]
    assert "bert.encoder.layer.1.bottle_output_dense_down" in names
    attended = layer.attention(x)[0]
    added = 4 * (_adapter(layer, "output_dense", attended) - attended)
    y = layer.output.dense(layer.intermediate(attended)) + added
    assert torch.allclose(layer(x), layer.output.LayerNorm(y + attended), atol=1e-5)
    with delta.disabled():
        assert not torch.allclose(layer(x), layer.output.LayerNorm(y + attended), atol=1e-2)


def test_a_forward_that_became_part_of_the_code_may_not_carry_hooks():
    """Its hooks would not run."""
    beside = {"insertion": "parallel", "position": "before-residual", "target": {"role": "mlp"}}
    model = tiny.compiled("bert", ADAPTER | beside).model
    before = tiny.logits(model)
    seen = []
    handle = model.bert.encoder.layer[0].output.register_forward_hook(lambda *_: seen.append(1))
    error = tiny.refused(lambda: tiny.logits(model), "DLT508")
    assert "'output' carries a hook" in str(error)
    handle.remove()
    assert torch.equal(tiny.logits(model), before)
    model.bert.encoder.layer[0].output.dense.register_forward_hook(lambda *_: seen.append(1))
    assert torch.equal(tiny.logits(model), before)
    assert seen == [1]


def test_it_starts_as_the_base_and_can_be_disabled(name):
    base = tiny.logits(tiny.base(name))
    delta = ADAPTER | {"target": {"module": PLACES[name]}, "init": "zero"}
    model = deltac.compile(tiny.spec(name, delta), model=tiny.base(name))
    assert torch.equal(tiny.logits(model.model), base)
    with torch.no_grad():
        for parameter in model.parameters("added").values():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    assert not torch.allclose(tiny.logits(model.model), base, atol=1e-2)
    with model.disabled():
        assert torch.equal(tiny.logits(model.model), base)


def test_gradients_and_checkpointing(name):
    delta = compiled(name)

    def grads():
        delta.model.train().zero_grad(set_to_none=True)
        torch.manual_seed(0)
        delta.model(**tiny.inputs(delta.model, labels=True)).loss.backward()
        return {key: p.grad for key, p in delta.parameters().items()}

    plain = grads()
    assert all(grad is not None and grad.any() for grad in plain.values())
    options = {"use_reentrant": False}
    delta.model.activation_checkpointing_enable(activation_checkpointing_kwargs=options)
    assert all(torch.allclose(grad, plain[key], atol=1e-6) for key, grad in grads().items())


def test_copies_and_artifacts(name, tmp_path):
    delta = compiled(name)
    expected = tiny.logits(delta.model)
    assert torch.equal(tiny.logits(copy.deepcopy(delta.model)), expected)
    assert torch.equal(tiny.logits(pickle.loads(pickle.dumps(delta.model))), expected)
    delta.save(tmp_path / "out")
    again = deltac.load(tmp_path / "out", model=tiny.base(name))
    assert torch.equal(tiny.logits(again.model), expected)
    assert again.files() == delta.files()


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
def test_generation_with_and_without_a_cache(name):
    model = compiled(name).model
    given = {key: value for key, value in tiny.inputs(model).items() if "decoder" not in key}
    given |= {"max_new_tokens": 5, "do_sample": False}
    given |= {"decoder_start_token_id": 0} if name == "t5" else {}
    given |= {"output_logits": True, "return_dict_in_generate": True}
    with torch.no_grad():
        runs = [model.generate(**given, use_cache=cache) for cache in (True, False)]
        plain = torch.stack(tiny.base(name).generate(**given).logits)
    cached, whole = (torch.stack(run.logits) for run in runs)
    assert torch.equal(runs[0].sequences, runs[1].sequences)
    assert torch.allclose(cached, whole, atol=1e-5)
    assert not torch.allclose(cached[0], plain[0], atol=1e-2)


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:torch")
def test_torch_compile(name):
    torch._dynamo.reset()
    model = compiled(name).model
    fast = torch.compile(model, fullgraph=True, backend="eager")
    given = tiny.inputs(model) | ({} if name == "bert" else {"use_cache": False})
    with torch.no_grad():
        assert torch.allclose(fast(**given).logits, model(**given).logits, atol=1e-6)


def test_both_sums_of_a_layer_have_their_own_names():
    target = {"role": ["attention", "mlp"], "layers": 0}
    delta = tiny.compiled("llama", ADAPTER | {"target": target})
    names = [row["name"] for row in delta.manifest["tensors"]]
    assert "model.layers.0.bottle_down" in names
    assert "model.layers.0.bottle_self_attn_down" in names
    sites = {row["site"] for row in delta.manifest["tensors"]}
    assert sites == {"model.layers.0", "model.layers.0[self_attn]"}


def test_sums_of_all_layers_stand_on_one_line():
    delta = deltac.plan(tiny.spec("llama", ADAPTER | {"target": {"role": "attention"}}))
    lock = fold(placement.site.path for placement in delta.placements)
    assert lock == ["model.layers.{0-2}[self_attn]"]


def test_the_code_shows_the_forward_before_and_after():
    files = compiled("bert").files()
    (text,) = (value.decode() for key, value in files.items() if key.startswith("code/"))
    assert "BertOutput at bert.encoder.layer.{0-1}.output" in text
    assert "layer_norm = self.LayerNorm(add)" in text
    assert "layer_norm = self.LayerNorm(bottle_output)" in text


@pytest.mark.parametrize(
    "name", ["opt", "roberta", "bart", "deberta-v2", "gemma2", "mamba", "whisper"]
)
def test_sums_by_role(name):
    """Both sums of a layer, wherever they lie: the base's bits at the start, and another model once moved."""
    cls, config = models.MODELS[name]
    role = "mixer" if name == "mamba" else ["attention", "mlp"]
    spec = {
        "version": 1,
        "name": "sums",
        "model": {"class": cls, "config": {"model_type": name, **config}},
        "deltas": [ADAPTER | {"init": "zero", "target": {"role": role}}],
    }
    base, model = models.build(name), models.build(name)
    delta = deltac.compile(spec, model=model)
    sites = {row["site"] for row in delta.manifest["tensors"] if "site" in row}
    assert any("[" in site for site in sites) or name == "mamba"
    given = models.inputs(base, 2, 5)
    with torch.no_grad():
        plain = base(**given).logits
        assert torch.equal(model(**given).logits, plain)
        for parameter in delta.parameters("added").values():
            parameter.add_(0.2 * torch.randn(parameter.shape))
        assert not torch.allclose(model(**given).logits, plain, atol=1e-2)


def test_offloading(name):
    model = compiled(name).model
    before = tiny.logits(model)
    accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
    assert any(p.device.type == "meta" for p in model.parameters()), "nothing was offloaded"
    assert torch.equal(tiny.logits(model), before)
