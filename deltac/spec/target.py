"""The grammar of targets: patterns of module paths, and ranges of layers."""

from __future__ import annotations

import functools
import math
import re
import warnings
from dataclasses import dataclass
from fractions import Fraction

from deltac.spec import phrases
from deltac.spec.regex import Matcher, UnsupportedError, compile_bounded


class TargetError(ValueError):
    """A pattern or range that can't be read. `code` and `fix` are those of a diagnostic."""

    def __init__(self, code: str, message: str, fix: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.fix = fix


class OutOfRangeError(ValueError):
    """A range of layers that a model doesn't have. The message says how many there are."""


_LONGEST = 1000

# Signs of a regular expression or a list; in the path of a module they don't occur.
_FOREIGN = re.compile(r"[\s\[\](){}|^$\\+?,;'\"]")


@dataclass(frozen=True)
class Pattern:
    """A pattern of dotted paths, as `target.module`, `target.exclude` and `heads` hold it.

    `q_proj` and `self_attn.q_proj` match whole trailing segments. `*` stands for one segment or a
    part of one, `**` for any number of segments, a leading `/` anchors at the root, and `re:` marks
    a regular expression that must match the whole path.

    >>> Pattern.parse("attn").matches("layers.0.self_attn")
    False
    >>> Pattern.parse("layers.*.q_*").matches("model.layers.0.q_proj")
    True
    """

    text: str
    regex: Matcher

    @classmethod
    @functools.lru_cache(maxsize=4096)
    def parse(cls, text: str) -> Pattern:
        """Reads a pattern.

        Raises:
            TargetError: DLT112 for a malformed pattern, DLT113 for a bad regular expression.
        """
        if len(text) > _LONGEST:
            shown = phrases.short(text)
            raise TargetError("DLT112", f"`{shown}` has more than {_LONGEST:,} characters")
        if text.startswith("re:"):
            return cls(text, _regex(text[3:]))
        return cls(text, re.compile(_glob(text)))

    def matches(self, path: str) -> bool:
        """Whether the pattern matches a dotted path."""
        return bool(self.regex.fullmatch(path))


def _regex(text: str) -> Matcher:
    if not text:
        raise TargetError("DLT113", "`re:` has no expression after it")
    try:
        with warnings.catch_warnings():
            # Python warns where a later version will read the expression differently.
            warnings.simplefilter("error")
            return compile_bounded(text)
    except UnsupportedError as error:
        message = f"`{phrases.short(text)}` can't be matched in bounded time: it has {error}"
        fix = "write it without, or list patterns with `*` and `**`"
        raise TargetError("DLT113", message, fix) from None
    except (re.error, Warning, OverflowError, RecursionError) as error:
        message = f"`{text}` is not a regular expression: {error}"
        raise TargetError("DLT113", message) from None


def _glob(text: str) -> str:
    """The regular expression of a pattern without `re:`."""
    if letters := phrases.lookalike(text):
        fix = "write it with the letters of the module's path; for such letters use `re:`"
        raise TargetError("DLT112", f"in the pattern `{phrases.short(text)}`, {letters}", fix)
    if match := _FOREIGN.search(text):
        found = match[0]
        fix = "write one pattern per list entry" if found in ",;" or found.isspace() else None
        if found in "[](){}|^$\\+?":
            fix = f"for a regular expression, write `re:{text}`; it must match the whole path"
        raise TargetError("DLT112", f"`{text}` holds `{found}`, no part of a path", fix)
    anchored = text.startswith("/")
    segments = text.removeprefix("/").split(".")
    if "" in segments:
        what = "is empty" if text in ("", "/") else "has an empty segment"
        raise TargetError("DLT112", f"the pattern `{text}` {what}")
    parts = [] if anchored else [r"(?:[^.]+\.)*"]
    for at, segment in enumerate(segments):
        last = at == len(segments) - 1
        if segment == "**":
            # Twice in a row says the same as once.
            if at and segments[at - 1] == "**":
                continue
            parts.append(r"(?:[^.]+\.)*")
        elif "**" in segment:
            fix = "write `*` for a part of a segment"
            raise TargetError("DLT112", f"in `{text}`, `**` is not a whole segment", fix)
        else:
            body = "[^.]+" if segment == "*" else "[^.]*".join(map(re.escape, segment.split("*")))
            parts.append(body + ("" if last else r"\."))
    return _trailing("".join(parts)) if segments[-1] == "**" else "".join(parts)


def _trailing(expression: str) -> str:
    """Lets a final `**` match zero or more whole segments, the path's last without a dot."""
    head = expression.removesuffix(r"(?:[^.]+\.)*")
    if not head or head.endswith(")*"):
        return head + r"(?:[^.]+\.)*[^.]+" if head else r"[^.]+(?:\.[^.]+)*"
    return head.removesuffix(r"\.") + r"(?:\.[^.]+)*"


_FORMS = "3, -1, 0-5, first 4, last 2, first 25%, last 25%"
_RANGE = re.compile(
    r"(-?\d{1,9})|(\d{1,9})-(\d{1,9})"
    r"|(first|last) +(\d{1,9})|(first|last) +(\d{1,3}(?:\.\d{1,9})?)%",
    re.ASCII,
)


@dataclass(frozen=True)
class LayerRange:
    """Layers by number: `3`, `-1` (the last), `0-5` (both ends), `first 4`, `last 25%`.

    Attributes:
        text: as written.
        first: the first number of a span of layers, or the only one; negative from the end.
        last: the last number of a span; equal to `first` for one layer.
        side: `first` or `last` for a number or a share of layers, else empty.
        share: how many layers of that side: a number of layers, or a fraction of all.
    """

    text: str
    first: int = 0
    last: int = 0
    side: str = ""
    share: int | Fraction = 0

    @classmethod
    def parse(cls, value: int | str, what: str = "layers") -> LayerRange:
        """Reads one entry of `layers`, or of `experts`, which are counted in the same way.

        Raises:
            TargetError: DLT114.
        """
        text = str(value)
        match = _RANGE.fullmatch(text)
        if match is None:
            message = f"found `{phrases.short(text)}`, expected {what} such as {_FORMS}"
            raise TargetError("DLT114", message)
        one, low, high, side, number, share_side, percent = match.groups()
        if one is not None:
            return cls(text, int(one), int(one))
        if low is not None:
            if int(low) > int(high):
                fix = f"write `{high}-{low}`"
                raise TargetError("DLT114", f"the range `{text}` runs backwards", fix)
            return cls(text, int(low), int(high))
        share = int(number) if side else Fraction(percent) / 100
        if share <= 0 or (share_side and share > 1):
            raise TargetError("DLT114", f"`{text}` is no part of a stack of {what}")
        return cls(text, side=side or share_side, share=share)

    def indices(self, count: int) -> list[int]:
        """The layer numbers in a stack of `count` layers; a share of layers is rounded up.

        Raises:
            OutOfRangeError: the stack has no such layers.
        """
        if self.side:
            share = self.share
            number = share if isinstance(share, int) else math.ceil(share * count)
            if number > count:
                raise OutOfRangeError(f"`{self.text}`: the stack has {_layers(count)}")
            layers = list(range(count))
            return layers[:number] if self.side == "first" else layers[count - number :]
        if not -count <= self.first <= self.last < count:
            known = f", 0 to {count - 1}" if count > 1 else ""
            raise OutOfRangeError(f"`{self.text}`: the stack has {_layers(count)}{known}")
        if self.first < 0:
            return [count + self.first]
        return list(range(self.first, self.last + 1))


def _layers(count: int) -> str:
    return f"{count} layer" if count == 1 else f"{count} layers"
