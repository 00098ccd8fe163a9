"""0xx: the text of a spec is not readable YAML 1.2."""

from deltac.diagnostics.catalogue.code import Code

CODES: tuple[Code, ...] = (
    Code(
        "DLT001",
        "yaml-syntax",
        "The text is not YAML. The place is where the reader gave up; the slip is there or just "
        "before.",
        "version: 1\nname: 'lora\n",
        "version: 1\nname: 'lora'\ndeltas: []\n",
    ),
    Code(
        "DLT002",
        "not-utf8",
        "The file is not UTF-8 text. Save it as UTF-8.",
    ),
    Code(
        "DLT003",
        "control-character",
        "The text holds a character that YAML forbids, such as NUL. Remove it.",
        "version: 1\nname: lo\0ra\n",
        "version: 1\nname: lora\ndeltas: []\n",
    ),
    Code(
        "DLT004",
        "file-too-large",
        "A spec is at most 1 MiB. A spec names places by pattern, so it stays small.",
    ),
    Code(
        "DLT005",
        "nested-too-deep",
        "Lists and mappings lie more than 64 deep in each other. No valid spec does.",
        "version: " + "[" * 65 + "]" * 65 + "\n",
        "version: 1\ndeltas: []\n",
    ),
    Code(
        "DLT006",
        "too-many-values",
        "The text holds more than 10,000 values once its aliases are expanded.",
        "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
        "b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
        "c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\n"
        "d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\n",
        "version: 1\ndeltas: []\n",
    ),
    Code(
        "DLT007",
        "empty-file",
        "The text holds nothing but white space and comments.",
        "# a comment\n",
        "version: 1\ndeltas: []\n",
    ),
    Code(
        "DLT008",
        "several-documents",
        "A file is one spec. Split the documents that `---` separates into files.",
        "version: 1\ndeltas: []\n---\nversion: 1\ndeltas: []\n",
        "version: 1\ndeltas: []\n",
    ),
    Code(
        "DLT009",
        "duplicate-key",
        "A mapping has the same key twice. Most YAML readers keep the last and say nothing.",
        "version: 1\nseed: 1\nseed: 2\ndeltas: []\n",
        "version: 1\nseed: 2\ndeltas: []\n",
    ),
    Code(
        "DLT010",
        "key-not-text",
        "Every key of a spec is text. Quote a key that reads as a number, as true or as null.",
        "version: 1\n2: x\ndeltas: []\n",
        "version: 1\ndeltas: []\n",
    ),
    Code(
        "DLT011",
        "merge-key",
        "The merge key `<<` belongs to YAML 1.1. Repeat the keys.",
        "version: 1\nmodel: {<<: {source: a}}\ndeltas: []\n",
        "version: 1\nmodel: {source: a}\ndeltas: []\n",
    ),
    Code(
        "DLT012",
        "yaml-tag",
        "A tag such as `!env` or `!!python/name` asks the reader to build something. deltac builds "
        "nothing that a spec asks for: remove the tag.",
        "version: 1\nname: !env NAME\ndeltas: []\n",
        "version: 1\nname: lora\ndeltas: []\n",
    ),
    Code(
        "DLT013",
        "recursive-alias",
        "An alias stands inside the very value that it refers to.",
        "version: 1\ndeltas: &d [*d]\n",
        "version: 1\ndeltas: []\n",
    ),
    Code(
        "DLT014",
        "tab-indentation",
        "YAML indents with spaces. Replace the tab.",
        "version: 1\nmodel:\n\tsource: a\n",
        "version: 1\nmodel:\n  source: a\ndeltas: []\n",
    ),
    Code(
        "DLT015",
        "unquoted-star",
        "Without quotes, a value that begins with `*` is a YAML alias. Quote the pattern.",
        "version: 1\ndeltas: []\nheads: [*_head]\n",
        'version: 1\ndeltas: []\nheads: ["*_head"]\n',
    ),
    Code(
        "DLT016",
        "unquoted-regex",
        "Between `{}` or `[]`, the brackets, braces and commas of a regular expression are read as "
        "YAML. Quote the expression.",
        "version: 1\ndeltas: []\nheads: [re:head[0-9]]\n",
        'version: 1\ndeltas: []\nheads: ["re:head[0-9]"]\n',
    ),
    Code(
        "DLT017",
        "unquoted-variable",
        "Between `{}` or `[]`, `${...}` is read as YAML. Quote it: the quotes make no text of a number.",
        "version: 1\nvars: {base: a}\ndeltas: []\nmodel: {source: ${base}}\n",
        'version: 1\nvars: {base: a}\ndeltas: []\nmodel: {source: "${base}"}\n',
    ),
    Code(
        "DLT018",
        "not-plain-data",
        "A spec given as a Python dict holds something that YAML has no form for, such as a tensor "
        "or a class, or holds itself.",
        exit=2,
    ),
)
