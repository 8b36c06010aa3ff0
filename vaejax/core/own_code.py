"""Factories of the user's own, in a file or in a module that can be imported.

    build(MODELS, "my_models.py:my_vae", latent_dim=8)
    build(BOUNDS, "my_package.bounds:largest")

A name with a colon is code that is run. A user who types the name asks for that; a name
in a file, such as a run's config.json from elsewhere, does not. So the reading of a
run's folder is in `of_run`, and that of a file of settings in `of_file`, which refuse
code that the user does not trust explicitly. The folder of a run keeps a copy of the
code that its settings name, and the digests of the copies: `sha256sum -c SHA256SUMS`.
"""

import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache, partial, wraps
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from vaejax.core.doors import expect
from vaejax.core.errors import VaejaxError, one_of
from vaejax.core.files import write_whole
from vaejax.core.ranges import cut, shown

NAME = re.compile(r"([\w./~+@-]+):([A-Za-z_]\w*)(?!\w*=)")  # no setting, as in a:b=1
FOLDER, DIGESTS = "code", "SHA256SUMS"
HOW = "FILE.py:FACTORY or MODULE:FACTORY"


class Code(NamedTuple):
    """A file of Python, and its content when it was read."""

    path: Path
    text: bytes


def own_factory(name: str, kind: type) -> Callable[..., Any]:
    """The factory that a name stands for; what it returns is checked to be of a kind.

    Raises:
        VaejaxError: there is no such file, module or function; code that fails; code
            that may not be run.
    """
    if not (found := NAME.fullmatch(name)):
        raise VaejaxError(f"{shown(name)} names no factory: write {HOW}")
    source, own = found.groups()
    code = _read.get()(source)
    with _one_sentence(code):
        if source.endswith(".py"):
            module = _executed(code)
        else:
            module = importlib.import_module(source)
    factory = getattr(module, own, None)
    if not callable(factory):
        functions = inspect.getmembers(module, inspect.isfunction)
        known = [n for n, of in functions if of.__module__ == module.__name__]
        advice = one_of(own, known) if known else "it has none"
        raise VaejaxError(f"{source} has no factory {own!r}: {advice}")

    @wraps(factory)
    def build(*args: Any, **settings: Any) -> Any:
        with _one_sentence(code):
            return expect(kind, f"what {name} returns", factory(*args, **settings))

    return build


def read(source: str) -> Code:
    """The file of a source: its path, or the name of a module.

    Raises:
        VaejaxError: there is none.
    """
    path = Path(source).expanduser()
    if not source.endswith(".py"):
        try:
            spec = importlib.util.find_spec(source)
        except (ImportError, ValueError):  # of its package, or of no module's name
            spec = None
        if spec is None or spec.origin is None:
            raise VaejaxError(
                f"there is no module {source!r}: a factory is named {HOW}, and a "
                "setting NAME:SETTING=VALUE"
            )
        path = Path(spec.origin)
    try:
        return Code(path, path.read_bytes())
    except OSError as error:
        raise VaejaxError(
            f"cannot read {path} ({error.strerror}): name a file of Python, as {HOW}"
        ) from error


_read: ContextVar[Callable[[str], Code]] = ContextVar("read", default=read)
_trusting: ContextVar[bool] = ContextVar("trusting", default=False)


@contextlib.contextmanager
def trusting(trust: bool) -> Iterator[None]:
    """In the block the code that files name is run, if `trust` is true."""
    token = _trusting.set(trust)
    try:
        yield
    finally:
        _trusting.reset(token)


@contextlib.contextmanager
def of_file(path: Path) -> Iterator[None]:
    """Names in the block come from a file of settings: code is run if it is trusted."""
    with _reading(read if _trusting.get() else partial(_refuse, path)):
        yield


@contextlib.contextmanager
def of_run(folder: Path, trust: bool = False) -> Iterator[None]:
    """Names in the block come from a run's folder: its copies are run, if trusted."""
    is_trusted = trust or _trusting.get()
    with _reading(partial(_kept if is_trusted else _refuse, folder)):
        yield


def keep(folder: Path, settings: str) -> None:
    """Copy the code that the text of settings names into a run's folder.

    Raises:
        VaejaxError: the code is not that of the run in the folder, which is to go on;
            two files of one name.
    """
    found: dict[str, bytes] = {}
    for source in sorted({match[1] for match in NAME.finditer(settings)}):
        try:
            text = read(source).text
        except VaejaxError:  # a text that only looks like a name
            continue
        path = folder / FOLDER / _copy_name(source)
        if found.setdefault(path.name, text) != text:
            raise VaejaxError(
                f"two different files are named {path.name}: rename one of them, since "
                f"the run's folder keeps a copy of both"
            )
        if path.exists() and path.read_bytes() != text:
            raise VaejaxError(
                f"{source} is not as it was when the run in {folder} began: restore it "
                f"from {path}, or use another --out"
            )
    for name, text in found.items():
        write_whole(folder / FOLDER / name, text)
    if found:
        lines = [_digest_line(name, text) for name, text in found.items()]
        write_whole(folder / FOLDER / DIGESTS, "".join(lines).encode())


def _kept(folder: Path, source: str) -> Code:
    """The copy of a source in a run's folder; a module must equal its copy."""
    path = folder / FOLDER / _copy_name(source)
    try:
        kept = Code(path, path.read_bytes())
        digests = (folder / FOLDER / DIGESTS).read_text("utf-8", "replace")
    except OSError as error:
        raise VaejaxError(
            f"{folder} has lost its copy of {source} ({path.name}: {error.strerror}): "
            "restore it from a copy of the folder"
        ) from error
    if _digest_line(path.name, kept.text) not in digests.splitlines(keepends=True):
        raise VaejaxError(
            f"{path} is not as the run left it: restore it, or, if the change is "
            f"yours, allow it by its SHA-256 digest in {DIGESTS} beside it"
        )
    if source.endswith(".py"):
        return kept
    installed = read(source)
    if installed.text != kept.text:
        raise VaejaxError(
            f"the module {source} is not as it was in the run of {folder}: install the "
            f"version of which {path} is a copy"
        )
    return installed


def _refuse(where: Path, source: str) -> Code:
    raise VaejaxError(
        f"{where} names code to run, {source}: read the code, then allow it by "
        "--trust, or in Python by trust=True"
    )


def _copy_name(source: str) -> str:
    return Path(source).name if source.endswith(".py") else f"{source}.py"


def _digest_line(name: str, text: bytes) -> str:
    return f"{hashlib.sha256(text).hexdigest()}  {name}\n"


@cache
def _executed(code: Code) -> ModuleType:
    """The module of a file, which is executed once."""
    name = f"{code.path.stem}_{hashlib.sha256(code.text).hexdigest()[:8]}"
    module = ModuleType(name)
    module.__file__ = str(code.path)
    sys.modules[name] = module  # where dataclasses look for the names in annotations
    exec(compile(code.text, code.path, "exec"), module.__dict__)
    return module


@contextlib.contextmanager
def _one_sentence(code: Code) -> Iterator[None]:
    """Raise a `VaejaxError` with the line at which the user's code fails."""
    try:
        yield
    except VaejaxError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(code.path)]
        line = f", line {lines[-1]}," if lines else ""
        raise VaejaxError(
            f"{code.path}{line} fails ({type(error).__name__}: {cut(str(error))}): "
            "correct the code"
        ) from error


@contextlib.contextmanager
def _reading(reader: Callable[[str], Code]) -> Iterator[None]:
    token = _read.set(reader)
    try:
        yield
    finally:
        _read.reset(token)
