"""The one integration with transformers.Trainer: checkpoints that hold the delta, the heads and the optimizer only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Trainer

from deltac.artifact.folder import read_manifest
from deltac.artifact.manifest import ejected_deltas
from deltac.artifact.tensors import check_tensors, read_tensors
from deltac.compiled import Compiled
from deltac.diagnostics import DeltacError, Diagnostic
from deltac.prompt import labelled
from deltac.state import DeltaState


class DeltaTrainer(Trainer):
    """A Trainer for compiled models; use it where you would use `Trainer`, or mix it in before your own subclass.

    Saving needs nothing new: a compiled model's `save_pretrained` writes its artifact. This class reads it back, so
    `resume_from_checkpoint` and `load_best_model_at_end` work, and `deltac.load` takes each checkpoint folder.
    """

    def __init__(self, model: nn.Module | None = None, *args: Any, **kwargs: Any) -> None:
        """As Trainer's. It takes compiled models on a quantized base, which Trainer by itself takes for a bare one."""
        with _has_adapters(model):
            super().__init__(model, *args, **kwargs)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        """As Trainer's, which keeps the labels from the model where the loss is not the model's: they tell where a
        prompt ends all the same."""
        with labelled(self.accelerator.unwrap_model(model), inputs.get("labels")):
            return super().compute_loss(model, inputs, *args, **kwargs)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Writes the artifact; a checkpoint keeps what only training needs, so that training can go on from it."""
        state = self._compiled(None).model.delta_state
        state.resumable = _internal_call
        try:
            super().save_model(output_dir, _internal_call)
        finally:
            state.resumable = False

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: nn.Module | None = None
    ) -> None:
        _read_into(Path(resume_from_checkpoint), self._compiled(model))

    def _load_best_model(self) -> None:
        _read_into(Path(self.state.best_model_checkpoint), self._compiled(None))

    def _compiled(self, model: nn.Module | None) -> Compiled:
        return Compiled(
            self.accelerator.unwrap_model(
                self.model if model is None else model, keep_torch_compile=False
            )
        )


@contextmanager
def _has_adapters(model: nn.Module | None) -> Iterator[None]:
    """Inside, a compiled model says to Trainer's check of quantized models that it has something to train."""
    if not isinstance(getattr(model, "delta_state", None), DeltaState):
        yield
        return
    model._hf_peft_config_loaded = True
    try:
        yield
    finally:
        del model._hf_peft_config_loaded


def _read_into(folder: Path, compiled: Compiled) -> None:
    """Copies the tensors of an artifact into a model that was compiled from the same spec.

    Raises:
        DeltacError: DLT70x (the files), DLT708 (another spec), DLT72x (other tensors).
    """
    recorded, own = read_manifest(folder), compiled.manifest
    if recorded["spec"]["sha256"] != own["spec"]["sha256"]:
        message = f"the checkpoint {folder.name} was made from another spec than the model that is being trained"
        raise DeltacError(
            [Diagnostic("DLT708", message, fix="compile the spec of the checkpoint, or start anew")]
        )
    if ejected_deltas(recorded) != ejected_deltas(own):
        message = f"the checkpoint {folder.name} holds a delta as it is used, without what only its training needs"
        fix = "write checkpoints with DeltaTrainer, or with save(resumable=True)"
        raise DeltacError([Diagnostic("DLT708", message, fix=fix)])
    values: dict[str, Any] = read_tensors(folder, recorded)
    check_tensors(own["tensors"], values)
    with torch.no_grad():
        for name, parameter in compiled.tensors().items():
            parameter.copy_(values[name])
