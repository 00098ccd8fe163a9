"""A folder of results by key, which may vanish or be damaged at any time without harm."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def cache_folder() -> Path:
    """The folder for what deltac keeps between calls, by the custom of the platform."""
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named) / "deltac"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "deltac"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "deltac" / "Cache"
    return Path.home() / ".cache" / "deltac"


def key_of(parts: Iterable[str]) -> str:
    """The key of a list of texts: other texts, or other borders between them, give another."""
    text = json.dumps(list(parts))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


#: How many results are kept. Above it, the least recently used go until nine tenths are left.
MOST = 2000


class Cache:
    """Results as JSON files, one per key, at most `MOST`. Without a folder it keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def get(self, key: str) -> Any:
        """The value of a key; None where there is none, or its file can't be read."""
        if self.folder is None:
            return None
        file = self.folder / f"{key}.json"
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        with contextlib.suppress(OSError):
            os.utime(file)  # it is in use
        # A file under another's name holds the right form and the wrong answer.
        return stored["value"] if isinstance(stored, dict) and stored.get("key") == key else None

    def put(self, key: str, value: Any) -> None:
        """Keeps a value. Readers see the whole file or none; where it can't be written, nothing is kept."""
        if self.folder is None:
            return
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "w", dir=self.folder, suffix=".part", delete=False, encoding="utf-8"
            ) as file:
                json.dump({"key": key, "value": value}, file)
            try:
                Path(file.name).replace(self.folder / f"{key}.json")
            except OSError:
                Path(file.name).unlink(missing_ok=True)
            self._prune()

    def _prune(self) -> None:
        """Removes what was not used for longest; files that calls which broke off have left, too."""
        files = list(os.scandir(self.folder))
        if len(files) > MOST:
            files.sort(key=lambda each: each.stat().st_mtime_ns)
            for each in files[: len(files) - MOST * 9 // 10]:
                Path(each.path).unlink(missing_ok=True)
