"""The settings that a config may have: those that it declares, and those that the code of its models reads."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

from transformers import PreTrainedConfig

#: `config.name`, `self.config.name` and `getattr(config, "name", …)`.
_READ = re.compile(r"\bconfig\.([a-z]\w*)|getattr\(\s*(?:self\.)?config,\s*[\"'](\w+)[\"']")


def declared(config: PreTrainedConfig) -> set[str]:
    """The settings of a config's class."""
    fields = dataclasses.fields(config) if dataclasses.is_dataclass(config) else ()
    names = {*(field.name for field in fields), *config.to_dict(), *config.attribute_map}
    return {*names, "num_labels", "quantization_config"} - {"model_type", "transformers_version"}


def read_by_models(config: PreTrainedConfig) -> set[str]:
    """The settings that the modeling files beside a config's class read.

    Checkpoints hold settings that the class does not declare: DeBERTa's `position_buckets`, T5's
    `decoder_start_token_id`. Nothing is imported.
    """
    try:
        folder = Path(inspect.getfile(type(config))).parent
    except (TypeError, OSError):
        return set()  # a class of a notebook
    text = "\n".join(
        file.read_text(encoding="utf-8") for file in sorted(folder.glob("modeling_*.py"))
    )
    names = {one or other for one, other in _READ.findall(text)}
    methods = {name for name in names if callable(getattr(type(config), name, None))}
    return names - methods - {"model_type", "transformers_version"}
