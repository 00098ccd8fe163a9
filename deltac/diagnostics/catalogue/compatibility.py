"""6xx: locks, and comparing with an earlier version."""

from deltac.diagnostics.catalogue.code import Code

CODES = (
    Code(
        "DLT601",
        "lock-missing",
        "There is no lock beside the spec. Write it with `deltac lock` and commit it.",
        "deltac lock --check specs/lora.delta.yaml",
        "deltac lock specs/lora.delta.yaml",
    ),
    Code(
        "DLT602",
        "lock-stale",
        "The lock is not the one that the spec gives now; the notes show the lines that differ. Write it again with "
        "`deltac lock` and look at its change in the review.",
        "deltac lock --check specs/lora.delta.yaml",
        "deltac lock specs/lora.delta.yaml",
    ),
    Code(
        "DLT603",
        "source-unpinned",
        "The source is a hub id, and nothing says at which commit: it can change under the spec. Write the commit as "
        "`revision`, or write the lock on a machine whose hub cache holds the model.",
        "model: {source: FacebookAI/roberta-base, revision: main}",
        "model: {source: FacebookAI/roberta-base, revision: 722cf37b1afa9454edce342e7895e588b6ff1d59}",
    ),
    Code(
        "DLT604",
        "lock-unreadable",
        "The lock is no lock that this deltac reads: edited by hand, cut off, with marks of a merge, or from a later "
        "version. Write it again with `deltac lock`.",
    ),
    Code(
        "DLT605",
        "lock-behind",
        "The lock beside the spec is not the one that the spec gives now. With `--locked` the build would fail.",
        severity="warning",
    ),
    Code(
        "DLT606",
        "lock-unpinned",
        "A lock was written for a hub id whose commit is not known here; `deltac lock --check` will refuse it.",
        severity="warning",
    ),
    Code(
        "DLT607",
        "lock-without-spec",
        "There is a lock, and no spec beside it that it could be of: the spec was renamed, moved or deleted. Delete "
        "the lock, or move it along with its spec.",
        "git mv a.delta.yaml b.delta.yaml",
        "git mv a.delta.yaml b.delta.yaml && git mv a.delta.lock b.delta.lock",
    ),
    Code(
        "DLT611",
        "git-unusable",
        "git is not installed, or the folder lies in no repository that git reads.",
        exit=2,
    ),
    Code(
        "DLT612",
        "reference-unknown",
        "git knows no commit of that name in this repository. Clones made for CI often hold one commit only.",
        "deltac breaking --against origin/mian",
        "deltac breaking --against origin/main",
        exit=2,
    ),
    Code(
        "DLT613",
        "not-at-reference",
        "The file is not in the repository at that reference, or lies outside the repository.",
        exit=2,
    ),
    Code(
        "DLT614",
        "reference-ambiguous",
        "The name is both a path and a git reference.",
        "deltac breaking --against main",
        "deltac breaking --against refs/heads/main",
        exit=2,
    ),
)
