"""Weight operators say no, with the option and a way out, where their sizes don't fit; and take convolutions."""

from types import SimpleNamespace

import pytest
import tiny
import torch
from torch import nn
from torch.nn import functional as F

import deltac
from deltac.operators import get
from deltac.testing import LawsConfig, LawsModel

REFUSED = [
    ("ia3", "layer-norm", {}, "needs a matrix", "leave it out", None),
    ("ia3", "embedding", {}, "no outputs to scale", "leave it out", None),
    ("loha", "linear", {"rank": 13}, "more than min(out, in) = 12", "at most 12", "rank"),
    ("oft", "linear", {"block_size": 5}, "the input size = 12", "4 or 6", "block_size"),
    ("hra", "linear", {"rank": 3}, "odd number of reflections", "2 or 4", "rank"),
    ("hra", "linear", {"rank": 14}, "more than the input size = 12", "at most 12", "rank"),
    ("lokr", "linear", {"factor": 5}, "the output size = 12", "4 or 6", "factor"),
    ("lokr", "linear", {"rank": 5, "factor": 3}, "min(out / o, in / i) = 4", "at most 4", "rank"),
    ("lokr", "embedding", {"factor": 3}, "the output size = 10", "2 or 5", "factor"),
    ("road", "linear", {"group_size": 3}, "doesn't fall into pairs", "even", "group_size"),
    ("road", "linear", {"group_size": 8}, "the output size = 12", "6 or 12", "group_size"),
    ("road", "embedding", {"group_size": 2}, "no outputs to rotate", "leave it out", None),
    ("boft", "linear", {"block_size": 3}, "no halves", "even block_size", "block_size"),
    ("boft", "linear", {"block_size": 8}, "the input size = 12", "6 or 12", "block_size"),
    ("boft", "linear", {"block_size": 4, "factors": 2}, "2 blocks at a time", "fewer", "factors"),
    (
        "gralora",
        "linear",
        {"rank": 4, "hybrid_rank": 13},
        "hybrid_rank 13 is more than min(out, in) = 12",
        "at most 12",
        "hybrid_rank",
    ),
    ("miss", "linear", {"rank": 13}, "more than the input size = 12", "at most 12", "rank"),
    ("c3a", "linear", {"block_size": 7}, "the output size = 12", "6 or 12", "block_size"),
    ("fourierft", "linear", {"frequencies": 145}, "out · in = 144", "144", "frequencies"),
    ("shira", "rms-norm", {}, "needs a matrix", "leave it out", None),
]


@pytest.mark.parametrize(
    ("operator", "base", "options", "message", "fix", "option"),
    REFUSED,
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_refused(operator, base, options, message, fix, option):
    delta = {"operator": operator, "target": {"module": "block.*"}, **options}
    spec = {"version": 1, "heads": [], "deltas": [delta]}
    with pytest.raises(deltac.DeltacError) as caught:
        deltac.plan(spec, model=LawsModel(LawsConfig(base=base)))
    (found,) = caught.value.diagnostics
    assert found.code == "DLT301"
    assert message in found.message
    assert fix in found.fix
    lines = found.span.source.text.splitlines()
    assert (option or "module") in lines[found.span.start.line - 1]


#: A vision transformer whose first layer is a convolution over patches: [32, 3, 4, 4].
VIT = {
    "version": 1,
    "heads": [],
    "model": {
        "class": "AutoModel",
        "config": {
            "model_type": "vit",
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "image_size": 8,
            "patch_size": 4,
        },
    },
}


@pytest.mark.parametrize(
    ("operator", "options"),
    [
        ("ia3", {"side": "output"}),
        ("ia3", {"side": "input"}),
        ("oft", {"block_size": 4}),
        ("shira", {"density": 0.1}),
        ("road", {"group_size": 4}),
        ("lora", {"rank": 3, "init": "pissa"}),
        ("dora", {"rank": 3}),
        ("hira", {"rank": 3}),
        ("delora", {"rank": 3}),
        ("gralora", {"rank": 4, "blocks": 2}),
    ],
)
def test_a_convolution_is_a_matrix_of_its_patches(operator, options):
    delta = {"name": "d", "operator": operator, "target": {"class": "Conv2d"}, **options}
    made = tiny.perturb(deltac.compile({**VIT, "deltas": [delta]}))
    (module,) = (m for m in made.model.modules() if isinstance(m, nn.Conv2d))
    operator = get(operator).operator(**options)
    p = SimpleNamespace(
        **{name[2:]: value for name, value in module.named_parameters() if name[:2] == "d_"}
    )
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    w, b = operator.weight(module.weight.flatten(1), p), operator.bias(module.bias, p)
    expected = F.conv2d(x, w.view_as(module.weight), b, stride=4)
    assert not torch.allclose(expected, F.conv2d(x, module.weight, module.bias, stride=4))
    torch.testing.assert_close(module(x), expected)
    if options == {"side": "input"}:
        assert p.l.shape == (3,)
        scaled = F.conv2d(x * p.l[:, None, None], module.weight, module.bias, stride=4)
        torch.testing.assert_close(module(x), scaled)


@pytest.mark.parametrize(
    ("option", "delta"),
    [
        ("activation", {"operator": "reft", "form": "lobireft", "activation": "relu"}),
        ("hidden", {"operator": "p-tuning", "encoder": "none", "hidden": 3}),
        ("depth", {"operator": "p-tuning", "encoder": "mlp", "depth": 3}),
        ("init", {"operator": "prompt", "length": 1, "ids": [5], "init": "uniform"}),
        ("among", {"operator": "prompt", "length": 1, "ids": [5], "among": 9}),
        ("among", {"operator": "prompt", "length": 1, "init": "uniform", "among": 9}),
    ],
)
def test_an_option_that_nothing_reads_is_refused(option, delta):
    target = {"role": "block" if delta["operator"] == "reft" else "embedding"}
    spec = tiny.spec("llama", {**delta, "target": target})
    error = tiny.refused(lambda: deltac.compile(spec, model=tiny.base("llama")), "DLT301")
    assert f"'{option}' has no meaning beside" in str(error)


def test_fourierft_wants_one_shape():
    delta = {"operator": "fourierft", "target": {"module": ["q_proj", "up_proj"]}}
    with pytest.raises(deltac.DeltacError) as caught:
        deltac.plan(tiny.spec("llama", delta), model=tiny.base("llama"))
    (found,) = caught.value.diagnostics
    assert found.code == "DLT301"
    assert "[32, 32] and [48, 32]" in found.message
    assert "one delta for each shape" in found.fix
