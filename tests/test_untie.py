"""A merged weight that was tied: separate tensors where one use changed, and a config that says so."""

import pytest
import tiny
import torch
import transformers
from torch import nn

import deltac
from deltac.model.quiet import quiet
from deltac.rewrite.plain import plain_copy


def tied(name="llama", **changes):
    return tiny.base(name, tie_word_embeddings=True, **changes)


def moved(model, name):
    return model.get_parameter(name).detach() + 0.1


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("llama", "model.embed_tokens.weight", "lm_head.weight"),
        ("gpt2", "transformer.wte.weight", "lm_head.weight"),
    ],
)
@pytest.mark.parametrize("side", [0, 1])
def test_one_side_changed(name, first, second, side, tmp_path):
    base, changed = tied(name), (first, second)[side]
    before = tiny.state(base)
    value = moved(base, first)
    merged, notes = plain_copy(base, [], {}, [(changed, value)])
    assert [note.code for note in notes] == ["DLT732"]
    assert f"{first}, {second} were one tensor; the delta changed {changed}" in notes[0].message
    other = (first, second)[1 - side]
    assert torch.equal(merged.get_parameter(changed), value)
    assert torch.equal(merged.get_parameter(other), before[other])
    assert merged.config.tie_word_embeddings is False
    with quiet():
        merged.save_pretrained(tmp_path)
        again = type(merged).from_pretrained(tmp_path)
    assert torch.equal(again.get_parameter(changed), value)
    assert torch.equal(again.get_parameter(other), before[other])
    assert torch.equal(tiny.logits(again), tiny.logits(merged))
    assert base.config.tie_word_embeddings is True
    assert tiny.same_bits(tiny.state(base), before)


def test_a_config_that_does_not_keep_it_is_refused():
    change = [("lm_head.weight", torch.ones(67, 32))]
    error = tiny.refused(lambda: plain_copy(tiny.base("t5"), [], {}, change), "DLT733")
    assert "T5Config can't be saved with tie_word_embeddings = false" in str(error)


class AlwaysTied(transformers.PreTrainedModel):
    """Its two layers share a weight, whatever its config says."""

    config_class = transformers.LlamaConfig

    def __init__(self, config):
        super().__init__(config)
        self.first, self.second = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight
        self.post_init()

    def forward(self, input_ids, **kwargs):
        return self.second(self.first(input_ids[..., :1].float().expand(-1, 4)))


def test_a_class_that_always_ties_is_refused():
    base = AlwaysTied(transformers.LlamaConfig())
    change = [("second.weight", torch.ones(4, 4))]
    error = tiny.refused(lambda: plain_copy(base, [], {}, change), "DLT733")
    assert "first.weight, second.weight" in str(error)


class ScaledWhenTied(AlwaysTied):
    """Its output depends on what its config says, as that of some of the T5 family does."""

    def forward(self, input_ids, **kwargs):
        y = super().forward(input_ids)
        return y * 0.5 if self.config.tie_word_embeddings else y


def test_a_class_that_computes_something_else_untied_is_refused():
    base = ScaledWhenTied(transformers.LlamaConfig(tie_word_embeddings=True))
    change = [("second.weight", torch.ones(4, 4))]
    error = tiny.refused(lambda: plain_copy(base, [], {}, change), "DLT733")
    assert "ScaledWhenTied computes something else" in str(error)


def test_a_tied_weight_that_nothing_changes_stays_tied():
    merged, notes = plain_copy(tied(), [], {}, [("model.norm.weight", torch.ones(32))])
    assert notes == []
    assert merged.lm_head.weight is merged.model.embed_tokens.weight
    assert merged.config.tie_word_embeddings is True


@pytest.mark.parametrize("sides", [["lm_head"], ["embed_tokens"], ["lm_head", "embed_tokens"]])
def test_a_delta_on_one_use_of_a_tied_weight(sides, tmp_path):
    delta = {"operator": "lora", "rank": 4, "tied": "untie", "target": {"module": sides}}
    spec = {"version": 1, "deltas": [delta]}
    base = tied()
    compiled = tiny.perturb(deltac.compile(spec, model=base), scale=0.05)
    expected = tiny.logits(compiled.model)
    shared = compiled.model.lm_head.weight
    assert shared is compiled.model.model.embed_tokens.weight
    with pytest.warns(UserWarning, match=r"DLT732: model.embed_tokens.weight, lm_head.weight"):
        merged = compiled.merge()
    assert torch.allclose(tiny.logits(merged), expected, rtol=1e-5, atol=1e-6)
    with quiet():
        merged.save_pretrained(tmp_path)
        again = type(merged).from_pretrained(tmp_path)
    assert torch.equal(tiny.logits(again), tiny.logits(merged))
    value = shared.detach().clone()
    with compiled.merged() as model:
        assert torch.equal(tiny.logits(model), tiny.logits(merged))
        with compiled.disabled():
            assert torch.equal(tiny.logits(model), tiny.logits(tied()))
    assert compiled.model.lm_head.weight is compiled.model.model.embed_tokens.weight is shared
    assert torch.equal(shared, value)
    compiled.save(tmp_path / "delta")
    assert torch.equal(tiny.logits(deltac.load(tmp_path / "delta", model=tied()).model), expected)
