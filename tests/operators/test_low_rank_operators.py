"""The low-rank family against PEFT, in float64: outputs, gradients of what is trained, gradient of the input.

Where PEFT's definition differs, the test says how, and compares after the mapping.
"""

import math

import peft
import pytest
import tiny
import torch
from beside_peft import Beside, Pair, beside, check

import deltac
from deltac.operators._weight_init import Principal

# PEFT asks transformers for a property that transformers has deprecated.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)
both = pytest.mark.parametrize("arch", ["bert", "gpt2"])
LORA = [
    Pair("A", lambda layer: layer.lora_A["default"].weight),
    Pair("B", lambda layer: layer.lora_B["default"].weight),
]


def flipped(arch):
    """What PEFT wants to be told about GPT-2's Conv1D."""
    return {"fan_in_fan_out": arch == "gpt2"}


@both
@pytest.mark.parametrize("scaling", ["standard", "rank-stabilized"])
def test_dora(arch, scaling):
    options = {"operator": "dora", "rank": 3, "alpha": 5.0, "scaling": scaling}
    settings = {"r": 3, "lora_alpha": 5, "use_rslora": scaling != "standard", "use_dora": True}
    models = beside(arch, options, peft.LoraConfig, **settings, **flipped(arch))
    check(models, [*LORA, Pair("m", lambda layer: layer.lora_magnitude_vector["default"].weight)])


def test_dora_starts_with_the_lengths_of_the_rows():
    delta = {"operator": "dora", "name": "d", "target": {"module": ["c_attn", "c_fc"]}, "rank": 2}
    compiled = deltac.compile(tiny.spec("gpt2", delta), model=tiny.base("gpt2"))
    module = compiled.model.get_submodule("transformer.h.0.attn.c_attn")
    # A Conv1D keeps its weight as [in, out].
    torch.testing.assert_close(module.d_m, module.weight.double().norm(dim=0).float())
    rows = {row["name"]: row["init"] for row in compiled.manifest["tensors"]}
    assert rows["transformer.h.0.attn.c_attn.d_m"] == "lengths of the weight(of=rows)"


def test_dora_keeps_a_row_of_zeros_and_its_gradients_finite():
    base = tiny.base("bert")
    query = base.bert.encoder.layer[0].attention.self.query
    with torch.no_grad():
        query.weight[3] = 0
    before = tiny.logits(base)
    delta = {"operator": "dora", "name": "d", "target": {"module": "self.query"}, "rank": 2}
    compiled = deltac.compile(tiny.spec("bert", delta), model=base)
    torch.testing.assert_close(tiny.logits(base), before, rtol=1e-5, atol=1e-6)
    base(**tiny.inputs(base)).logits.sum().backward()
    assert all(p.grad.isfinite().all() for p in compiled.parameters().values())


@both
def test_vera(arch):
    models = beside(arch, {"operator": "vera", "rank": 5}, peft.VeraConfig, r=5, **flipped(arch))
    shared = models.theirs.base_model
    pairs = [
        Pair("b", lambda layer: layer.vera_lambda_b["default"]),
        Pair("d", lambda layer: layer.vera_lambda_d["default"]),
        Pair("A", lambda _: shared.vera_A["default"]),
        Pair("B", lambda _: shared.vera_B["default"]),
    ]
    check(models, pairs)
    mine = models.mine
    counts = mine.manifest["counts"]
    assert counts["delta"] == sum(p.numel() for p in models.theirs.parameters() if p.requires_grad)
    # One pair of matrices for all sites, as large as the largest needs, saved by value.
    assert mine.manifest["sets"]["fixed"] == ["d_A", "d_B"]
    assert {name for name in mine.tensors() if name.startswith("d_")} == {"d_A", "d_B"}


def test_vera_starts_with_the_values_that_the_paper_and_peft_draw_from():
    delta = {"operator": "vera", "name": "d", "target": {"module": "self.query"}, "rank": 512}
    compiled = deltac.compile(tiny.spec("bert", delta), model=tiny.base("bert"))
    values = {name: p.detach() for name, p in compiled.model.named_parameters()}
    for name, fan in (("d_A", 32), ("d_B", 512)):
        # Kaiming's uniform distribution with the gain of a ReLU.
        bound = math.sqrt(6 / fan)
        assert 0.99 * bound < values[name].abs().max() <= bound
        assert abs(values[name].std().item() - bound / math.sqrt(3)) < 0.02 * bound
    assert all((p == 0.1).all() for name, p in values.items() if name.endswith("query.d_d"))
    assert not any(p.any() for name, p in values.items() if name.endswith("query.d_b"))


@both
@pytest.mark.parametrize("init", ["kaiming", "gaussian"])
def test_lora_fa_is_lora_with_a_fixed_factor(arch, init):
    """PEFT has it as LoRA with an optimizer that leaves A alone."""
    options = {"operator": "lora-fa", "rank": 3, "alpha": 5.0, "init": init}
    models = beside(arch, options, peft.LoraConfig, r=3, lora_alpha=5, **flipped(arch))
    check(models, LORA)
    trained = models.mine.parameters("factor")
    assert trained and all(name.endswith(".d_B") for name in trained)


@both
def test_adalora(arch):
    """PEFT divides by rank + 1e-5, to be safe where no rank is left; its rank is set to rank − 1e-5 here."""
    options = {"operator": "adalora", "rank": 3, "alpha": 5.0}
    settings = {"init_r": 3, "lora_alpha": 5, "total_step": 10, **flipped(arch)}
    models = beside(arch, options, peft.AdaLoraConfig, **settings)
    for site in models.sites:
        models.layer(site).ranknum["default"].data.fill_(3 - 1e-5)
    pairs = [
        Pair("P", lambda layer: layer.lora_B["default"]),
        Pair("Lambda", lambda layer: layer.lora_E["default"], lambda value: value[:, None]),
        Pair("Q", lambda layer: layer.lora_A["default"]),
    ]
    check(models, pairs)


def test_the_penalty_of_adalora_is_that_of_the_paper():
    """Section 3.1 of the paper. PEFT takes the mean over all P and Q of the norms, not the sum of their squares."""
    delta = {"operator": "adalora", "name": "d", "target": {"module": "self.query"}, "rank": 3}
    spec = tiny.spec("bert", {**delta, "penalty_weight": 0.3})
    compiled = tiny.perturb(deltac.compile(spec, model=tiny.base("bert")))
    compiled.model.double()
    norms = []
    for layer in compiled.model.bert.encoder.layer:
        left, right = layer.attention.self.query.d_P.T, layer.attention.self.query.d_Q
        norms += [torch.linalg.matrix_norm(m @ m.T - torch.eye(3).double()) for m in (left, right)]
    expected = 0.3 * sum(norm**2 for norm in norms)
    torch.testing.assert_close(compiled.penalty(), expected, rtol=1e-12, atol=0)
    inputs = tiny.inputs(compiled.model, labels=True)
    plain = compiled.model.eval()(**inputs).loss
    for module in compiled.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    total = compiled.model.train()(**inputs).loss
    torch.testing.assert_close(total - plain, expected, rtol=1e-9, atol=0)


@both
@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_lora_from_the_weight(arch, init):
    """PEFT subtracts s B0 A0 from the base's weight, here done by hand and in float64; ours leaves the base alone."""
    options = {"operator": "lora", "rank": 3, "alpha": 5.0, "init": init}
    models = beside(arch, options, peft.LoraConfig, r=3, lora_alpha=5, **flipped(arch))
    before = tiny.base(arch, dtype=torch.float64).state_dict()
    for site in models.sites:
        module, layer = models.mine.model.get_submodule(site), models.layer(site)
        assert torch.equal(module.weight, before[f"{site}.weight"])
        product = 5.0 / 3 * module.d_B0 @ module.d_A0
        layer.get_base_layer().weight.data -= product.T if arch == "gpt2" else product
    check(models, LORA)


@pytest.mark.parametrize(
    ("arch", "init", "name"),
    [
        ("bert", "pissa", "principal-part"),
        ("gpt2", "pissa", "principal-part"),
        ("bert", "olora", "leading-qr"),
    ],
)
def test_initial_factors_from_the_weight_are_those_of_peft(arch, init, name):
    """PEFT computes in float32, and leaves the signs of singular vectors and of the rows of R as they come.

    Its `olora` decomposes the weight of a Conv1D without transposing it, and can't run there.
    """
    target = ["c_attn"] if arch == "gpt2" else ["intermediate.dense"]
    delta = {"operator": "lora", "rank": 3, "alpha": 5.0, "init": init, "name": "d"}
    spec = tiny.spec(arch, {**delta, "target": {"module": target}})
    mine = deltac.compile(spec, model=tiny.base(arch))
    settings = {"r": 3, "lora_alpha": 5, "init_lora_weights": init, "target_modules": target}
    config = peft.LoraConfig(**settings, **flipped(arch))
    theirs = Beside(mine, peft.get_peft_model(tiny.base(arch), config))
    sites = [path.removesuffix(".weight") for path in mine.manifest["sets"]["reparameterized"]]
    rows = {row["name"]: row for row in mine.manifest["tensors"]}
    for site in sites:
        module, layer = mine.model.get_submodule(site), theirs.layer(site)
        a, b = (pair.theirs(layer) for pair in LORA)
        sign = (module.d_A * a).sum(1).sign()
        torch.testing.assert_close(module.d_A, sign[:, None] * a, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(module.d_B, b * sign, rtol=1e-3, atol=1e-4)
        assert torch.equal(module.d_A, module.d_A0) and torch.equal(module.d_B, module.d_B0)
        for own, part in (("A", "factor"), ("B", "factor"), ("A0", "fixed"), ("B0", "fixed")):
            row = rows[f"{site}.d_{own}"]
            assert row["init"].startswith(f"{name} of the weight(side=") and row["set"] == part


@pytest.mark.parametrize("shape", [(7, 12), (12, 7), (9, 9)])
def test_the_principal_part_is_the_best_approximation(shape):
    """Against torch's SVD; a rank-deficient weight has nothing more than its rank."""
    generator = torch.Generator().manual_seed(2)
    w = torch.randn(shape, dtype=torch.float64, generator=generator)
    rest = torch.linalg.svdvals(w)[4:].square().sum().sqrt()
    u, _, v = torch.linalg.svd(w, full_matrices=False)
    falling = u @ torch.diag(10.0 ** -torch.arange(min(shape), dtype=w.dtype)) @ v
    beyond = (sum(100.0**-k for k in range(4, min(shape)))) ** 0.5
    cases = ((w, rest), (falling, beyond), (w[:, :1] @ w[:1], 0.0), (0 * w, 0.0))
    for weight, error in cases:
        b = Principal("left", 2.0)((shape[0], 4), generator, weight)
        a = Principal("right", 2.0)((4, shape[1]), generator, weight)
        assert abs((weight - 2.0 * b @ a).norm().item() - error) < 1e-7
        torch.testing.assert_close(b.norm(dim=0), a.norm(dim=1), rtol=1e-9, atol=1e-7)


def test_each_weight_is_decomposed_once(monkeypatch):
    calls, eigh = [], torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda w: calls.append(w.shape) or eigh(w))
    delta = {"operator": "lora", "target": {"module": "self.query"}, "rank": 2, "init": "pissa"}
    compiled = deltac.compile(tiny.spec("bert", delta), model=tiny.base("bert"))
    assert len(calls) == len(compiled.manifest["sets"]["reparameterized"]) == 2


@pytest.mark.parametrize("operator", ["dora", "lora", "delora"])
def test_values_from_a_part_of_a_fused_weight(operator):
    options = {"dora": {}, "lora": {"init": "pissa"}, "delora": {}}[operator]
    delta = {"operator": operator, "name": "d", "rank": 2, **options}
    spec = tiny.spec("gpt2", {**delta, "target": {"role": "attention.value"}})
    compiled = deltac.compile(spec, model=tiny.base("gpt2"))
    weight = tiny.base("gpt2").transformer.h[1].attn.c_attn.weight.T[64:].double()
    value = {
        name: p for name, p in compiled.tensors().items() if name.startswith("transformer.h.1")
    }
    found = {name.rpartition("_")[2]: p.detach().double() for name, p in value.items()}
    if operator == "dora":
        torch.testing.assert_close(found["m"], weight.norm(dim=1), rtol=1e-6, atol=0)
    elif operator == "delora":
        torch.testing.assert_close(found["lengths"], weight.norm(dim=0), rtol=1e-6, atol=0)
    else:
        u, s, v = torch.linalg.svd(weight)
        best = u[:, :2] @ torch.diag(s[:2]) @ v[:2]
        torch.testing.assert_close(found["B"] @ found["A"], best, rtol=1e-5, atol=1e-6)


def test_olora_takes_the_leading_part_of_a_qr_decomposition_of_a_conv1d():
    delta = {"operator": "lora", "rank": 3, "init": "olora", "name": "d"}
    spec = tiny.spec("gpt2", {**delta, "target": {"module": "c_attn"}})
    module = deltac.compile(spec, model=tiny.base("gpt2")).model.transformer.h[0].attn.c_attn
    eye, zero = torch.eye(3), torch.zeros(3, 3)
    torch.testing.assert_close(module.d_B.T @ module.d_B, eye, rtol=0, atol=1e-6)
    torch.testing.assert_close(module.d_A[:, :3].tril(-1), zero, rtol=0, atol=1e-6)
    # The first columns of W have no part outside of the first columns of Q.
    columns = (module.d_B @ module.d_A)[:, :3]
    torch.testing.assert_close(columns, module.weight.T[:, :3], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rank", [2, 5, 8])
def test_orthogonal_factors(rank):
    """As in PEFT, the rows of B and the columns of A are orthogonal and normal with std 1/10 in their own subspace.

    PEFT draws the basis of R^rank, and needs an even rank; ours is that of the cosine transform.
    """
    delta = {
        "operator": "lora",
        "name": "d",
        "target": {"module": "self.query"},
        "rank": rank,
        "init": "orthogonal",
    }
    compiled = deltac.compile(tiny.spec("bert", delta), model=tiny.base("bert"))
    module = compiled.model.bert.encoder.layer[0].attention.self.query
    a, b = module.d_A.detach().double(), module.d_B.detach().double()
    assert (b @ a).abs().max() < 1e-7
    assert torch.linalg.matrix_rank(a) == (rank + 1) // 2
    assert torch.linalg.matrix_rank(b) == rank // 2
    # Each of the n subspace coordinates has the variance 1/100, so a column's squared length is n/100 on average.
    for squares, n in ((a.pow(2).sum(0), (rank + 1) // 2), (b.pow(2).sum(1), rank // 2)):
        assert abs(squares.mean().item() * 100 / n - 1) < 0.6
    gradients = torch.autograd.grad(module(torch.ones(1, 32)).sum(), [module.d_A, module.d_B])
    assert all(gradient.any() for gradient in gradients)


@both
def test_hira(arch):
    models = beside(arch, {"operator": "hira", "rank": 3}, peft.HiraConfig, r=3, **flipped(arch))
    pairs = [
        Pair("A", lambda layer: layer.hira_A["default"]),
        Pair("B", lambda layer: layer.hira_B["default"]),
    ]
    check(models, pairs)


def test_delora():
    """PEFT has it for nn.Linear only. The lengths of W's columns are stored in float32 here, and PEFT gets ours."""
    models = beside("bert", {"operator": "delora", "rank": 3}, peft.DeloraConfig, r=3)
    for site in models.sites:
        module, layer = models.mine.model.get_submodule(site), models.layer(site)
        lengths = layer.delora_w_norm["default"]
        torch.testing.assert_close(module.d_lengths, lengths, rtol=1e-6, atol=0)
    pairs = [
        Pair("A", lambda layer: layer.delora_A["default"]),
        Pair("B", lambda layer: layer.delora_B["default"]),
        Pair("strength", lambda layer: layer.delora_lambda["default"]),
        Pair("lengths", lambda layer: layer.delora_w_norm["default"]),
    ]
    check(models, pairs)


def test_delora_starts_as_that_of_peft():
    delta = {"operator": "delora", "name": "d", "target": {"module": "self.query"}, "rank": 3}
    base = tiny.base("bert")
    before = tiny.logits(base)
    compiled = deltac.compile(tiny.spec("bert", delta), model=base)
    assert torch.equal(tiny.logits(base), before)
    module = base.bert.encoder.layer[0].attention.self.query
    assert module.d_strength.item() == 15.0 == peft.DeloraConfig().delora_lambda
    # B is zero, and its gradient is finite all the same.
    base(**tiny.inputs(base)).logits.sum().backward()
    gradients = [p.grad for p in compiled.parameters("factor").values()]
    assert all(gradient.isfinite().all() for gradient in gradients)
    # A column of zeros counts as one of length 1e-4, in PEFT and in the authors' code.
    x, seed = (torch.randn(4, 32, generator=torch.Generator().manual_seed(n)) for n in (0, 1))
    (found,) = torch.autograd.grad(module(x), module.d_B, seed)
    v = module.d_A / module.d_A.norm(dim=1, keepdim=True) * module.d_lengths
    expected = 15.0 / 3 / 1e-4 * seed.T @ (x @ v.T)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0.1)


@both
@pytest.mark.parametrize("bases", ["uniform", "sparse", "very-sparse"])
def test_randlora(arch, bases):
    """PEFT flattens the columns of its Bⱼ as (term, rank) and the rows of its A as (rank, term), and multiplies them.

    So a column of its random matrices stands for another column of ours: the method is the same, after the reordering
    below. PEFT's scale is alpha / rank, 20 by default; it sizes the shared matrices by the largest out and in, of which
    no site here uses all.
    """
    options = {"operator": "randlora", "rank": 5, "scale": 7 / 5, "bases": bases}
    settings = {"r": 5, "randlora_alpha": 7, **flipped(arch)}
    models = beside(arch, options, peft.RandLoraConfig, **settings)
    large, terms, rank = models.mine.model.d_B.shape
    assert (terms, rank) == (math.ceil(32 / 5), 5)
    shared = models.theirs.base_model
    pairs = [
        Pair("Lambda", lambda layer: layer.randlora_lambda["default"], torch.t),
        Pair("gamma", lambda layer: layer.randlora_gamma["default"]),
        Pair("A", lambda _: shared.randlora_A["default"][:, 0, :32]),
        Pair(
            "B",
            lambda _: shared.randlora_B["default"][:large, :terms],
            lambda value: value.mT.flatten(1).unflatten(1, (terms, rank)),
        ),
    ]
    check(models, pairs)


@pytest.mark.parametrize(
    ("bases", "share"), [("uniform", 1.0), ("sparse", 1 / 3), ("very-sparse", 1 / 32**0.5)]
)
def test_the_random_matrices_of_randlora_have_variance_1(bases, share):
    delta = {"operator": "randlora", "name": "d", "target": {"module": "self.query"}, "rank": 4}
    compiled = deltac.compile(tiny.spec("bert", {**delta, "bases": bases}), model=tiny.base("bert"))
    values = compiled.model.d_B.detach()
    assert values.shape == (32, 8, 4)
    assert abs(values.var().item() - 1) < 0.2
    assert abs((values != 0).float().mean().item() - share) < 0.06
    assert bases == "uniform" or len(values.unique()) == 3


@both
@pytest.mark.parametrize("hybrid", [0, 3])
def test_gralora(arch, hybrid):
    """PEFT keeps the blocks of A and B transposed."""
    options = {"operator": "gralora", "rank": 4, "alpha": 5.0, "blocks": 2, "hybrid_rank": hybrid}
    settings = {"r": 4, "alpha": 5, "gralora_k": 2, "hybrid_r": hybrid, **flipped(arch)}
    models = beside(arch, options, peft.GraloraConfig, **settings)
    pairs = [
        Pair("A", lambda layer: layer.gralora_A["default"], lambda value: value.mT),
        Pair("B", lambda layer: layer.gralora_B["default"], lambda value: value.mT),
    ]
    if hybrid:
        pairs += [
            Pair("A_whole", lambda layer: layer.gralora_A_general["default"].weight),
            Pair("B_whole", lambda layer: layer.gralora_B_general["default"].weight),
        ]
    check(models, pairs)


def test_each_block_of_gralora_has_its_own_factors():
    """The definition of the paper: block (i, j) of the change is a product of rank rank / blocks of its own."""
    delta = {"operator": "gralora", "name": "d", "target": {"module": "self.query"}}
    spec = tiny.spec("bert", {**delta, "rank": 4, "blocks": 2, "alpha": 8.0})
    compiled = tiny.perturb(deltac.compile(spec, model=tiny.base("bert")))
    module = compiled.model.bert.encoder.layer[0].attention.self.query
    change = (module(torch.eye(32)) - module.bias).T - module.weight
    assert torch.linalg.matrix_rank(change.detach(), rtol=1e-4) == 8
    for i in range(2):
        for j in range(2):
            own = module.d_B[i][:, 2 * j : 2 * j + 2] @ module.d_A[j][2 * i : 2 * i + 2]
            block = change[16 * i : 16 * i + 16, 16 * j : 16 * j + 16]
            torch.testing.assert_close(block, 2.0 * own, rtol=1e-4, atol=1e-5)


@both
def test_vblora(arch):
    """PEFT keeps the logits of B with their first two dimensions exchanged."""
    options = {"operator": "vblora", "rank": 3, "bank": 7, "length": 16, "top": 2}
    settings = {"r": 3, "num_vectors": 7, "vector_length": 16, "topk": 2, **flipped(arch)}
    models = beside(arch, options, peft.VBLoRAConfig, **settings)
    pairs = [
        Pair("logits_A", lambda layer: layer.vblora_logits_A["default"]),
        Pair(
            "logits_B",
            lambda layer: layer.vblora_logits_B["default"],
            lambda value: value.transpose(0, 1),
        ),
        Pair("bank", lambda layer: layer.vblora_vector_bank["default"]),
    ]
    check(models, pairs)
    counts = models.mine.manifest["counts"]
    assert counts["delta"] == sum(p.numel() for p in models.theirs.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"operator": "gralora", "rank": 4, "blocks": 3}, "blocks 3 does not divide out = 32"),
        ({"operator": "gralora", "rank": 3, "blocks": 2}, "blocks 2 does not divide the rank = 3"),
        ({"operator": "vblora", "length": 24}, "length 24 does not divide out = 32"),
        ({"operator": "vblora", "length": 16, "bank": 3, "top": 4}, "the bank holds 3 vectors"),
        ({"operator": "hira", "rank": 33}, "rank 33 is more than min(out, in) = 32"),
        ({"operator": "randlora", "rank": 33}, "rank 33 is more than min(out, in) = 32"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    spec = tiny.spec("bert", {**options, "target": {"module": "self.query"}})
    assert message in str(tiny.refused(lambda: deltac.plan(spec), "DLT301"))


def test_an_odd_shape_is_refused():
    low_rank = ("lora", "lora-fa", "dora", "adalora", "vera", "hira")
    for operator in (*low_rank, "delora", "randlora", "gralora", "vblora"):
        delta = {"operator": operator, "target": {"module": "input_layernorm"}}
        tiny.refused(lambda delta=delta: deltac.compile(tiny.spec("llama", delta)), "DLT301")


def test_dora_refuses_an_embedding():
    delta = {"operator": "dora", "target": {"module": "word_embeddings"}, "rank": 2}
    error = tiny.refused(lambda: deltac.plan(tiny.spec("bert", delta)), "DLT301")
    assert "use 'lora' there" in str(error)
