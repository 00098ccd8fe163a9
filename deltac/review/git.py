"""Files as they were at a git reference. Runs git without a shell, and only commands that read."""

from __future__ import annotations

import subprocess
from pathlib import Path, PurePosixPath

from deltac.diagnostics import DeltacError


class Repository:
    """The git repository that a folder lies in.

    Attributes:
        top: its uppermost folder.
    """

    def __init__(self, folder: Path) -> None:
        """Raises DeltacError: DLT611, git is missing or the folder lies in no repository."""
        self.top = folder
        done = self._git("rev-parse", "--show-toplevel")
        if done.returncode != 0:
            message = f"'{folder}' lies in no git repository that can be read: {_said(done)}"
            raise DeltacError.of("DLT611", message, fix="call deltac inside a repository")
        self.top = Path(done.stdout.decode().rstrip("\n"))

    def commit(self, ref: str) -> str:
        """The commit that a branch, tag or hash stands for.

        Raises:
            DeltacError: DLT612, there is none.
        """
        if not self.has(ref):
            fix = f"fetch it first: git fetch origin {ref} (CI often clones one commit only; ask for the whole history)"
            raise DeltacError.of("DLT612", f"git knows no commit '{ref}' here", fix=fix)
        done = self._git("rev-parse", "--verify", "--end-of-options", f"{ref}^{{commit}}")
        return done.stdout.decode().strip()

    def has(self, ref: str) -> bool:
        """Whether git knows a commit of that name."""
        words = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
        return self._git(*words).returncode == 0

    def path(self, path: Path) -> str:
        """A path as the repository names it.

        Raises:
            DeltacError: DLT613, it lies outside.
        """
        try:
            # Only the folder is resolved: the file itself may be gone, or be a link.
            inside = (path.parent.resolve() / path.name).relative_to(self.top.resolve())
        except ValueError:
            message = f"'{path}' lies outside the repository {self.top}"
            raise DeltacError.of("DLT613", message) from None
        return inside.as_posix()

    def read(self, commit: str, path: str) -> bytes | None:
        """The content of a file at a commit; None where there is no such file."""
        # cat-file, because `git show` may run a filter that the repository's attributes name.
        done = self._git("cat-file", "blob", f"{commit}:{path}")
        return done.stdout if done.returncode == 0 else None

    def names(self, commit: str, folder: str, suffix: str) -> list[str]:
        """The files at a commit that lie below a folder and end in `suffix`, sorted."""
        where = [] if folder in ("", ".") else [folder]
        done = self._git("ls-tree", "-r", "--name-only", "-z", "--full-tree", commit, "--", *where)
        names = done.stdout.decode("utf-8", "surrogateescape").split("\0")
        return sorted(name for name in names if name.endswith(suffix))

    def _git(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(
                ["git", "-C", str(self.top), *words], capture_output=True, check=False
            )
        except FileNotFoundError:
            message = "git is needed to read an earlier version, and is not installed"
            raise DeltacError.of("DLT611", message, fix="install git") from None


def inside(folder: str, path: str) -> str | None:
    """A relative path seen from a folder of the repository; None where it leaves the repository."""
    parts: list[str] = []
    for part in PurePosixPath(folder, path).parts:
        if part == ".." and not parts:
            return None
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return None if PurePosixPath(path).is_absolute() else "/".join(parts)


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    return " ".join(done.stderr.decode("utf-8", "replace").split()) or "no reason given"
