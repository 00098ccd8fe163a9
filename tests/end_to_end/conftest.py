"""Compiled, perturbed models for the end-to-end tests."""

import pytest
import tiny

import deltac

_MINILM_DELTAS = [
    {
        "name": "low",
        "operator": "lora",
        "target": {"module": ["attention.self.query", "attention.self.value"]},
        "rank": 4,
        "dropout": 0.1,
    },
    {
        "name": "bottle",
        "operator": "adapter",
        "target": {"module": "output.dense"},
        "bottleneck": 8,
    },
    {"name": "biases", "operator": "bitfit", "target": {"module": "encoder"}},
]


@pytest.fixture(params=tiny.ARCHITECTURES)
def architecture(request):
    """The name of each tiny architecture."""
    return request.param


@pytest.fixture
def compiled(architecture):
    """A compiled tiny model with a perturbed delta of three operators, in eval mode."""
    return tiny.compiled(architecture)


@pytest.fixture(scope="session")
def minilm_spec():
    """LoRA, adapters and BitFit on the pre-trained encoder, with a fresh head."""
    model = {
        "source": tiny.MINILM,
        "class": "AutoModelForSequenceClassification",
        "config": {"num_labels": 3},
    }
    return {"version": 1, "name": "minilm", "model": model, "deltas": _MINILM_DELTAS}


@pytest.fixture
def minilm(minilm_spec):
    """The pre-trained encoder with a perturbed delta. Small moves: its activations are not random."""
    return tiny.perturb(deltac.compile(minilm_spec), scale=0.02)
