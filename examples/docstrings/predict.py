"""Tells the family of docstrings with a saved artifact: of texts on the command line, or of the whole test part.

python predict.py artifact "Return a suitable charset for the body of the message."
"""

from __future__ import annotations

import argparse
from pathlib import Path

import data
import torch
from safetensors.torch import save_file
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, DataCollatorWithPadding, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

import deltac

BATCH = 64


def tokenizer_of(model: PreTrainedModel) -> Tokenizer:
    """The tokenizer that lies beside the base's weights."""
    return AutoTokenizer.from_pretrained(model.name_or_path)


def read(tokenizer: Tokenizer) -> list[data.Text]:
    """The data set, measured in this tokenizer's tokens."""
    return data.read(lambda texts: [len(ids) for ids in tokenizer(texts)["input_ids"]])


def encode(rows: list[data.Text], tokenizer: Tokenizer) -> list[dict]:
    """The rows as a model takes them, not padded yet."""
    return [{**tokenizer(row.text), "label": row.label} for row in rows]


def logits(model: PreTrainedModel, examples: list[dict], tokenizer: Tokenizer) -> torch.Tensor:
    """One row of logits an example: [examples, families]."""
    model.eval()
    batches = DataLoader(examples, batch_size=BATCH, collate_fn=DataCollatorWithPadding(tokenizer))
    with torch.inference_mode():
        return torch.cat([model(**batch).logits for batch in batches])


def main() -> None:
    """Loads the artifact onto its base, predicts, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifact", type=Path, help="folder that train.py saved")
    parser.add_argument("texts", nargs="*", help="docstrings; none: the test part")
    parser.add_argument("--output", type=Path, help="write the test part's logits here")
    parser.add_argument("--every", type=int, default=1, help="only every n-th test text")
    # Another number of threads adds in another order: logits would differ in their last bits.
    parser.add_argument("--threads", type=int, default=1, help="of torch, as in training")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    model = deltac.load(args.artifact).model
    tokenizer = tokenizer_of(model)
    if args.texts:
        examples = [dict(tokenizer(text)) for text in args.texts]
        for text, row in zip(args.texts, logits(model, examples, tokenizer), strict=True):
            chance, label = row.softmax(0).max(0)
            print(f"{data.CLASSES[label]} ({chance:.2f}): {text}")
        return
    rows = [row for row in read(tokenizer) if row.part == "test"]
    examples = encode(rows[:: args.every], tokenizer)
    found = logits(model, examples, tokenizer)
    right = sum(label == row["label"] for label, row in zip(found.argmax(1), examples, strict=True))
    print(f"{right / len(examples):.4f} of {len(examples)} test texts are right")
    if args.output:
        save_file({"logits": found}, args.output)


if __name__ == "__main__":
    main()
