"""The part of the schema that describes one entry of `model.inputs`."""

from __future__ import annotations

from typing import Any

INPUT: dict[str, Any] = {
    "description": "One tensor that the model's forward takes.",
    "type": "object",
    "properties": {
        "shape": {
            "description": "Its size in each dimension, the batch included; [] is a single number.",
            "type": "array",
            "maxItems": 6,
            "items": {
                "description": "A size.",
                "type": "integer",
                "minimum": 1,
                "maximum": 65536,
            },
        },
        "dtype": {
            "description": "Its dtype. A floating one is cast to the model's where the model does.",
            "enum": ["int64", "int32", "bool", "float32", "bfloat16", "float16", "float64"],
        },
        "range": {
            "description": "Its lowest and its highest value; the values in between take turns. "
            "Default: ones for whole numbers and bool, zeros for others.",
            "type": "array",
            "minItems": 2,
            "maxItems": 2,
            "items": {"description": "A value.", "type": "number"},
        },
    },
    "additionalProperties": False,
    "required": ["shape", "dtype"],
}
