"""What callers do to a model between compiling and saving: nothing of it may get lost without a word."""

import warnings

import pytest
import tiny
import torch

import deltac

LORA = {"operator": "lora", "rank": 2, "target": {"role": "attention.query"}}


@pytest.fixture
def compiled():
    return tiny.compiled("llama", LORA)


def test_a_base_that_was_resized_is_not_saved_as_the_old_one(compiled, tmp_path):
    compiled.model.resize_token_embeddings(80, mean_resizing=False)
    error = tiny.refused(lambda: compiled.save(tmp_path / "new"), "DLT741")
    assert "resize_token_embeddings" in str(error)
    tiny.refused(lambda: compiled.model.save_pretrained(tmp_path / "other"), "DLT741")
    assert not list(tmp_path.iterdir())


def test_what_is_unfrozen_and_not_saved_is_told(compiled, tmp_path):
    compiled.model.requires_grad_(True)
    with pytest.warns(deltac.DeltacWarning, match=r"DLT742.*lm_head.weight.* would be trained"):
        compiled.save(tmp_path / "new")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_model_that_was_cast_is_saved_so_that_it_loads(compiled, tmp_path, dtype):
    compiled.model.to(dtype)
    with pytest.warns(deltac.DeltacWarning, match="DLT743"):
        compiled.save(tmp_path / "new")
    again = deltac.load(tmp_path / "new", model=tiny.base("llama"))
    for name, value in compiled.tensors().items():
        assert torch.equal(again.tensors()[name], value.to(torch.float32))


def test_a_model_as_it_was_is_saved_without_a_word(compiled, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled.save(tmp_path / "new")


def test_nothing_is_pushed_in_passing(compiled, tmp_path):
    error = tiny.refused(
        lambda: compiled.model.save_pretrained(tmp_path, push_to_hub=True), "DLT744"
    )
    assert "upload_folder" in str(error)
    assert not list(tmp_path.iterdir())


def test_a_module_that_was_wrapped_is_named(compiled, tmp_path):
    attention = compiled.model.model.layers[0].self_attn
    attention.q_proj = torch.nn.Sequential(attention.q_proj)
    error = tiny.refused(lambda: compiled.save(tmp_path / "new"), "DLT741")
    assert (
        "no model.layers.0.self_attn.q_proj.lora_A, model.layers.0.self_attn.q_proj.lora_B"
        in str(error)
    )
