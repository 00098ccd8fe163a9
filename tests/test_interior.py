"""Interior regions: whole forwards as generated code, on many architectures, equal to eager to the last bit."""

import copy
import pickle

import interior_models as models
import pytest
import torch

from deltac.rewrite.interior_region import Interior, constants_of, dispatcher
from deltac.rewrite.region import Region, region_class

# Nothing is inserted here: the tests ask whether the code of a forward is the forward.
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:torch")


def rewrite(model, kinds=tuple(models.KINDS)):
    """Gives each attention, MLP and layer module the class whose forward is generated."""
    found = {}
    for path, module in model.named_modules():
        for kind in kinds:
            if path and models.KINDS[kind].search(type(module).__name__):
                found[path] = module
    for module in found.values():
        base = type(module)
        interior = Interior(constants=constants_of(module))
        module.__class__ = region_class(Region(base, dispatcher(base), "", (), interior))
    return list(found.values())


def step(model, batch, length, *, train):
    """Logits and gradients of one step, dropout drawn from a seed, and the state of the generator after it."""
    model.train(train)
    model.zero_grad(set_to_none=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        logits = model(**models.inputs(model, batch, length)).logits
        weights = torch.linspace(-1, 1, logits.numel()).view(logits.shape)
        (logits * weights).sum().backward()
        state = torch.get_rng_state()
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.eval()
    return {"logits": logits.detach(), "random state": state, **grads}


def same(left, right):
    assert left.keys() == right.keys()
    different = [name for name in left if not torch.equal(left[name], right[name])]
    assert not different, different


def variants(module):
    return len(type(module).delta_variants)


@pytest.mark.parametrize("name", models.MODELS)
def test_equal_to_eager(name):
    base, model = models.build(name), models.build(name)
    modules = rewrite(model)
    assert len(modules) >= 2
    generates = model.can_generate() and name not in ("bert", "roberta", "deberta-v2")
    # Generation without a cache runs whole texts in evaluation mode.
    for batch, length, train in [(2, 5, True), (1, 1, False), (4, 17, False)][: 3 - generates]:
        same(step(model, batch, length, train=train), step(base, batch, length, train=train))
    count = {id(module): variants(module) for module in modules}
    same(step(model, 3, 8, train=True), step(base, 3, 8, train=True))
    # A size of its own needs no code of its own.
    assert all(variants(module) == count[id(module)] for module in modules)
    assert all(count.values())
    if generates:
        for cache in (True, False):
            given = models.prompt(model) | {"max_new_tokens": 4, "use_cache": cache}
            assert torch.equal(model.generate(**given), base.generate(**given)), cache


@pytest.mark.parametrize("name", ["llama", "t5", "bert"])
def test_copies_and_pickles(name):
    model = models.build(name)
    rewrite(model)
    expected = step(model, 2, 5, train=True)
    same(step(copy.deepcopy(model), 2, 5, train=True), expected)
    same(step(pickle.loads(pickle.dumps(model)), 2, 5, train=True), expected)


def _compiled_logits(model, name, backend="eager"):
    """What torch.compile makes of a model, without a graph break, for two sizes."""
    torch._dynamo.reset()
    fast = torch.compile(model, fullgraph=True, backend=backend)
    with torch.no_grad():
        return [fast(**models.plain(model, name, *size)).logits for size in ((2, 9), (3, 12))]


def test_torch_compile_in_one_graph():
    base, model = models.build("llama"), models.build("llama")
    for module in rewrite(model):
        type(module).delta_variants.clear()  # an earlier test may have made the code
    found = _compiled_logits(model, "llama")
    with torch.no_grad():
        for size, logits in zip(((2, 9), (3, 12)), found, strict=True):
            assert torch.equal(logits, base(**models.plain(base, "llama", *size)).logits)


@pytest.mark.breadth  # a minute and a half
@pytest.mark.filterwarnings("ignore:.*lru_cache:UserWarning")  # in Mamba's scan
@pytest.mark.parametrize("name", models.MODELS)
def test_torch_compile_gives_what_it_gives_of_the_base(name):
    """To the last bit. Its Mamba differs from the eager one by 6e-8."""
    base, model = models.build(name), models.build(name)
    for module in rewrite(model):
        type(module).delta_variants.clear()
    found, expected = (_compiled_logits(each, name, "aot_eager") for each in (model, base))
    assert all(torch.equal(*each) for each in zip(found, expected, strict=True))


def test_torch_compile_of_what_ran_before():
    base, model = models.build("llama"), models.build("llama")
    for module in rewrite(model, ("attention",)):
        type(module).delta_variants.clear()
    given = models.plain(base, "llama", 2, 9)
    with torch.no_grad():
        expected = base(**given).logits
        assert torch.equal(model(**given).logits, expected)
    assert torch.equal(_compiled_logits(model, "llama")[0], expected)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("name", ["llama", "t5"])
def test_checkpointing(name, reentrant):
    base, model = models.build(name), models.build(name)
    rewrite(model)
    expected = step(base, 2, 5, train=True)
    for each in (base, model):
        options = {"use_reentrant": reentrant}
        each.activation_checkpointing_enable(activation_checkpointing_kwargs=options)
        each.enable_input_require_grads()
    found = step(model, 2, 5, train=True)
    assert torch.equal(found["logits"], expected["logits"])
    same(found, step(base, 2, 5, train=True))


@pytest.mark.parametrize("name", ["llama", "bert", "t5"])
def test_outputs_are_captured(name):
    for implementation in ("eager", "sdpa"):
        base = models.build(name, attn_implementation=implementation)
        model = models.build(name, attn_implementation=implementation)
        rewrite(model)
        given = models.inputs(model, 2, 5) | {"output_hidden_states": True}
        if implementation == "eager":
            given["output_attentions"] = True
        found, expected = model(**given).to_tuple(), base(**given).to_tuple()
        for left, right in zip(flat(found), flat(expected), strict=True):
            assert torch.equal(left, right)
        assert len(flat(found)) >= 3


def flat(value):
    if isinstance(value, torch.Tensor):
        return [value]
    return [each for item in value for each in flat(item)] if isinstance(value, tuple) else []


def test_autocast_and_dtypes():
    base, model = models.build("t5"), models.build("t5")
    rewrite(model, ("attention", "mlp"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        same(step(model, 2, 5, train=True), step(base, 2, 5, train=True))
    same(step(model, 2, 5, train=True), step(base, 2, 5, train=True))
    base, model = base.to(torch.bfloat16), model.to(torch.bfloat16)
    same(step(model, 2, 5, train=True), step(base, 2, 5, train=True))


def test_what_the_code_has_as_a_constant_may_change():
    base, model = models.build("llama"), models.build("llama")
    modules = rewrite(model, ("attention",))
    first = step(model, 2, 5, train=False)["logits"]
    for each in (base, model):
        each.model.layers[0].self_attn.scaling = 0.5
    found = step(model, 2, 5, train=False)
    same(found, step(base, 2, 5, train=False))
    assert not torch.equal(found["logits"], first)
    assert modules


#: Where a model says how many blocks it has.
LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "decoder_layers")


@pytest.mark.parametrize(
    "name",
    [
        "llama",
        *(pytest.param(n, marks=pytest.mark.breadth) for n in ("gemma3_text", "t5", "mixtral")),
    ],
)
def test_a_cache_that_the_compiled_model_itself_makes(name):
    torch._dynamo.reset()
    two = {key: 2 for key in LAYERS if key in models.MODELS[name][1]}
    base, model = models.build(name, **two), models.build(name, **two)
    for module in rewrite(model):
        type(module).delta_variants.clear()
    fast = torch.compile(model, fullgraph=True, backend="eager")
    given = models.inputs(model, 2, 9)
    tokens = "decoder_input_ids" if model.config.is_encoder_decoder else "input_ids"
    with torch.no_grad():
        found, expected = fast(**given, use_cache=True), base(**given, use_cache=True)
        assert torch.equal(found.logits, expected.logits)
        given = {**given, tokens: given[tokens][:, :2], "attention_mask": None}
        after = fast(**given, past_key_values=found.past_key_values)
        assert (
            found.past_key_values.get_seq_length() == expected.past_key_values.get_seq_length() + 2
        )
        expected = base(**given, past_key_values=expected.past_key_values)
        assert torch.equal(after.logits, expected.logits)


def test_on_the_meta_device():
    model = models.build("llama").to("meta")
    rewrite(model, ("attention",))
    given = {key: value.to("meta") for key, value in models.inputs(model, 2, 9).items()}
    given["attention_mask"] = None
    assert model(**given).logits.is_meta
