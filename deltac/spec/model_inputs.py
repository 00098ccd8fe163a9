"""The part of the schema that describes `model.inputs`."""

from __future__ import annotations

from typing import Any

_INPUT: dict[str, Any] = {
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

INPUTS: dict[str, Any] = {
    "description": "What the model is run on to see what its modules do, by argument of its forward. "
    "Default: tokens, an image or sound, as the config says.",
    "type": "object",
    "minProperties": 1,
    "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]{0,99}$"},
    "additionalProperties": _INPUT,
}
