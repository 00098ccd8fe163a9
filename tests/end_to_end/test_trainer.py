"""Training with transformers: the plain Trainer, and DeltaTrainer's checkpoints."""

import json

import pytest
import safetensors.torch
import tiny
import torch
import transformers

import deltac

ARGUMENTS = {
    "per_device_train_batch_size": 4,
    "learning_rate": 0.02,
    "report_to": [],
    "disable_tqdm": True,
    "use_cpu": True,
    "logging_strategy": "no",
    "seed": 3,
}


class Texts(torch.utils.data.Dataset):
    """Random texts; the label is told by the first token."""

    def __init__(self, number=16):
        generator = torch.Generator().manual_seed(1)
        self.tokens = torch.randint(3, 67, (number, 8), generator=generator)

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, index):
        row = self.tokens[index]
        return {"input_ids": row, "labels": row[0] % 3}


def _spec(**changes):
    deltas = [
        {"name": "low", "operator": "lora", "target": {"module": "self.query"}, "rank": 4},
        *tiny.ARCHITECTURES["bert"]["deltas"][1:],
    ]
    deltas[0]["dropout"] = 0.3
    return tiny.spec("bert", deltas, **changes)


def _compiled(**changes):
    return deltac.compile(_spec(**changes), model=tiny.base("bert"))


def _trainer(cls, compiled, folder, **arguments):
    args = transformers.TrainingArguments(output_dir=str(folder), **ARGUMENTS | arguments)
    return cls(model=compiled.model, args=args, train_dataset=Texts(), eval_dataset=Texts())


def _values(compiled):
    return {name: p.detach().clone() for name, p in compiled.parameters().items()}


def test_the_plain_trainer_trains(tmp_path):
    compiled = _compiled()
    frozen = {
        n: p.detach().clone() for n, p in compiled.model.named_parameters() if not p.requires_grad
    }
    before = _values(compiled)
    trainer = _trainer(transformers.Trainer, compiled, tmp_path, max_steps=12, save_strategy="no")
    first = trainer.evaluate()["eval_loss"]
    trainer.train()
    after = _values(compiled)
    assert all(not torch.equal(before[name], after[name]) for name in before)
    now = dict(compiled.model.named_parameters())
    assert all(torch.equal(frozen[name], now[name]) for name in frozen)
    assert trainer.evaluate()["eval_loss"] < first


def test_checkpoints_hold_the_delta_the_heads_and_the_optimizer_only(tmp_path):
    compiled = _compiled()
    trainer = _trainer(deltac.DeltaTrainer, compiled, tmp_path, max_steps=2, save_steps=2)
    trainer.train()
    folder = tmp_path / "checkpoint-2"
    weights = sorted(file.name for file in folder.rglob("*.safetensors"))
    assert weights == ["delta.safetensors", "heads.safetensors"]
    assert not list(folder.glob("pytorch_model*"))
    delta = safetensors.torch.load_file(folder / "delta.safetensors")
    heads = safetensors.torch.load_file(folder / "heads.safetensors")
    assert set(heads) == set(compiled.parameters("heads"))
    assert set(delta) == set(compiled.parameters()) - set(heads)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["state"] == "trained"
    trained = sum(p.numel() for p in compiled.parameters().values())
    base = sum(p.numel() for p in compiled.model.parameters())
    moments = torch.load(folder / "optimizer.pt", weights_only=True)["state"].values()
    assert sum(entry["exp_avg"].numel() for entry in moments) == trained < base
    loaded = deltac.load(folder, model=tiny.base("bert"))
    assert torch.equal(tiny.logits(loaded.model), tiny.logits(compiled.model.eval()))


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    whole = _compiled()
    _trainer(deltac.DeltaTrainer, whole, tmp_path / "whole", max_steps=6, save_steps=6).train()
    first = _compiled()
    arguments = {"max_steps": 6, "save_steps": 3}
    trainer = _trainer(deltac.DeltaTrainer, first, tmp_path / "parts", **arguments)
    trainer.add_callback(_StopAt(3))
    trainer.train()
    assert not (tmp_path / "parts/checkpoint-6").exists()
    second = _compiled()
    resumed = _trainer(deltac.DeltaTrainer, second, tmp_path / "parts", **arguments)
    resumed.train(resume_from_checkpoint=str(tmp_path / "parts/checkpoint-3"))
    assert resumed.state.global_step == 6
    assert tiny.same_bits(_values(second), _values(whole))
    assert not tiny.same_bits(_values(first), _values(whole))


class _StopAt(transformers.TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == self.step


def test_the_best_model_is_loaded_at_the_end(tmp_path):
    compiled = _compiled()
    losses = iter([0.5, 0.1, 0.9])

    class Scripted(deltac.DeltaTrainer):
        """Its second evaluation is the best, whatever the model does."""

        def evaluate(self, *args, **kwargs):
            metrics = {"eval_loss": next(losses)}
            self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
            return metrics

    trainer = _trainer(
        Scripted,
        compiled,
        tmp_path,
        max_steps=3,
        eval_strategy="steps",
        eval_steps=1,
        save_steps=1,
        load_best_model_at_end=True,
    )
    trainer.train()
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-2")
    saved = {step: {} for step in (2, 3)}
    for step, values in saved.items():
        for name in ("delta", "heads"):
            file = tmp_path / f"checkpoint-{step}" / f"{name}.safetensors"
            values.update(safetensors.torch.load_file(file))
    now = _values(compiled)
    assert all(torch.equal(now[name], value) for name, value in saved[2].items())
    assert not all(torch.equal(now[name], value) for name, value in saved[3].items())


def test_a_checkpoint_of_another_spec_is_refused(tmp_path):
    _trainer(deltac.DeltaTrainer, _compiled(), tmp_path, max_steps=1, save_steps=1).train()
    other = _compiled(seed=1)
    before = _values(other)
    trainer = _trainer(deltac.DeltaTrainer, other, tmp_path, max_steps=2, save_steps=1)
    checkpoint = str(tmp_path / "checkpoint-1")
    tiny.refused(lambda: trainer.train(resume_from_checkpoint=checkpoint), "DLT708")
    assert tiny.same_bits(_values(other), before)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    _trainer(deltac.DeltaTrainer, _compiled(), tmp_path, max_steps=1, save_steps=1).train()
    file = tmp_path / "checkpoint-1/delta.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x07")
    trainer = _trainer(deltac.DeltaTrainer, _compiled(), tmp_path, max_steps=2, save_steps=1)
    checkpoint = str(tmp_path / "checkpoint-1")
    tiny.refused(lambda: trainer.train(resume_from_checkpoint=checkpoint), "DLT705")


def test_save_model_writes_the_artifact(tmp_path):
    compiled = tiny.perturb(_compiled())
    trainer = _trainer(deltac.DeltaTrainer, compiled, tmp_path / "out")
    trainer.save_model(str(tmp_path / "final"))
    loaded = deltac.load(tmp_path / "final", model=tiny.base("bert"))
    assert tiny.same_bits(_values(loaded), _values(compiled))


@pytest.mark.parametrize("trainer_class", [transformers.Trainer, deltac.DeltaTrainer])
def test_training_with_parameter_groups(tmp_path, trainer_class):
    compiled = _compiled()
    optimizer = torch.optim.AdamW(compiled.parameter_groups(lr=0.01, heads_lr=0.0))
    heads = {n: p.detach().clone() for n, p in compiled.parameters("heads").items()}
    args = transformers.TrainingArguments(
        str(tmp_path), max_steps=2, save_strategy="no", **ARGUMENTS
    )
    trainer = trainer_class(
        model=compiled.model, args=args, train_dataset=Texts(), optimizers=(optimizer, None)
    )
    trainer.train()
    assert all(torch.equal(compiled.model.get_parameter(n), value) for n, value in heads.items())
