"""Revision files: read their headers without importing them, load them when they run."""

from __future__ import annotations

import ast
import codecs
import hashlib
import io
import os
import re
import tokenize
import warnings
from collections.abc import Iterator
from datetime import datetime
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from anabranch.cache import Entries, HeaderCache, Stamp, revision_files, stamp_of
from anabranch.problems import Problem
from anabranch.revision import Revision, RevisionKey
from anabranch.wording import text_of

_NAMES = ("revision", "down_revision", "branch_labels", "depends_on")
_DOCSTRING = re.compile(r'\s*(?:#[^\n]*\n\s*)*[rRuU]?("""|\'\'\')(.*?)\1', re.DOTALL)
_ASSIGNMENT = re.compile(
    r"^(revision|down_revision|branch_labels|depends_on)[ \t]*(?::[^=\n]+)?=[ \t]*([^=\n][^\n]*)$",
    re.MULTILINE,
)
_MENTION = re.compile(r"\b(?:revision|down_revision|branch_labels|depends_on)\b")
_COMMENT = re.compile(r"#[^\n]*")
_PLAIN = re.compile(r"None|(['\"])([\w.@-]*)\1")
_STRING = re.compile("\"\"\"|'''")
# The four lines as Alembic's template has them, with values that need no parser.
_STANDARD = re.compile(
    "".join(
        rf"{name}[ \t]*(?::[^=\n]+)?=[ \t]*(None|'[\w.@-]*'|\"[\w.@-]*\")[ \t]*\n"
        for name in _NAMES
    )
)
# Spelt out, because each version of Python reads other dates; the order must not depend on that.
_CREATED = re.compile(
    r"^[ \t]*Create Date:[ \t]*(\d{4}-\d\d-\d\d)"
    r"(?:[ T](\d\d:\d\d(?::\d\d)?)(\.\d{1,6})?[ ]?(Z|[+-]\d\d:?\d\d)?)?[ \t]*$",
    re.MULTILINE,
)
_REVISION = re.compile(
    r"^[ \t(]*(?:from\b.*\bimport\b.*|[^#\n]*[;,][ \t]*)?\brevision\b", re.MULTILINE
)
_DOWN_REVISION = re.compile(r"^down_revision\b", re.MULTILINE)
_REVISION_ID = re.compile(r"^Revision ID:", re.MULTILINE)
_PARAGRAPH = re.compile(r"\n[ \t]*\n")
_AUTOCOMMIT = re.compile(
    r"\bautocommit_block\b|^transactional\b[^=\n]*=[ \t]*False\b", re.MULTILINE
)
# What might end a transaction in a way that no event tells; the word alone is enough. For text in
# lower case: to let the pattern fold it takes four times as long.
_MEDDLING = re.compile(
    r"connect|engine|session|context\b|cursor\b"
    r"|\b(?:inspect|listen|driver|dbapi|raw|commit|rollback|begin"
    r"|(?:get_bind|bind|orm|impl|events?|run_async|executescript|savepoint|release|end|abort"
    r"|attach|pragma|eval|exec|getattr|vars|globals|compile|__(?!future__)\w+__)\b)"
)
# Of which a text has one that the pattern above could find.
_WORDS = (
    *("connect", "engine", "session", "context", "cursor", "inspect", "listen", "driver", "dbapi"),
    *("raw", "commit", "rollback", "begin", "bind", "orm", "impl", "event", "run_async", "exec"),
    *("savepoint", "release", "end", "abort", "attach", "pragma", "eval", "getattr", "vars"),
    *("globals", "compile", "__"),
)
# For a line; what it imports besides could do anything.
_IMPORT = re.compile(
    r"(?:^|[;:])[ \t]*(?:from|import)\b(?![ \t]+(?:alembic[ \t]+import[ \t]+op[ \t]*$"
    r"|sqlalchemy(?:\.dialects(?:\.\w+)?)?[ \t]+(?:import[ \t]+[\w, \t]+|as[ \t]+sa[ \t]*)$"
    r"|(?:__future__|typing|collections\.abc)[ \t]+import[ \t]+[\w, \t]+$))"
)

_DESTRUCTIVE = re.compile(r"^destructive[ \t]*(?::[^=\n]+)?=[ \t]*([^=\n][^\n]*)$", re.MULTILINE)


class _ComputedError(Exception):
    """The header cannot be read without running the file."""


class _UnreadableError(Exception):
    """The file is damaged; the text says how."""


def read_location(
    owner: str, location: Path, cache: HeaderCache | None = None
) -> tuple[tuple[Revision, ...], tuple[Problem, ...]]:
    """Read the headers of all revision files of *owner* in *location*, by name.

    Files that assign no ``revision`` are not revisions and are passed over. A header that cannot
    be read is a problem of this owner; it stops neither the other files nor the other owners.

    :param cache: what may know the headers already; what is read now is kept there.
    """
    revisions: list[Revision] = []
    problems: list[Problem] = []
    entries = Entries(location) if cache is None else cache.load(location)
    found: dict[str, Any] = {}
    folder = f"{location}{os.sep}"  # a path object per file would cost as much as all the rest
    try:
        files = sorted(revision_files(location))
    except OSError as error:
        return (), (_unreadable(owner, location, _one_line(error)),)
    if cache is not None:
        cache.seen[location] = files
    for name, stamp in files:
        known = entries.get(name, stamp) if stamp else None
        if known is not None:
            found[name] = entries.found[name]
            if known:
                revisions.append(_from_cache(owner, f"{folder}{name}", known))
            continue
        path = f"{folder}{name}"
        try:
            revision, is_certain = _read(owner, path, stamp)
        except _UnreadableError as error:
            problems.append(_unreadable(owner, path, str(error)))
            continue
        if revision is not None:
            revisions.append(revision)
        if stamp and is_certain and entries.is_settled(stamp):
            found[name] = [stamp, _for_cache(revision)]
    if cache is not None:
        cache.is_whole = cache.is_whole and len(found) == len(files)
        if found != entries.found:
            cache.store(entries, found)
    return tuple(revisions), tuple(problems)


def _unreadable(owner: str, path: str | Path, cause: str) -> Problem:
    return Problem(
        code="AB118",
        owner=owner,
        text=f"The revision file {path} of {owner} cannot be read: {cause}",
        remedy=f"Mend the file, or reinstall the package of {owner}.",
        path=str(path),
    )


def _for_cache(revision: Revision | None) -> list[Any]:
    """Return what is kept of a header; nothing of a file that is no revision."""
    if revision is None:
        return []
    return [
        revision.id,
        revision.down_revisions,
        revision.depends_on,
        revision.branch_labels,
        revision.message,
        revision.created and revision.created.isoformat(),
        revision.checksum,
        revision.autocommit,
        revision.plain,
        revision.destructive,
    ]


def _from_cache(owner: str, path: str, known: list[Any]) -> Revision:
    id_, down, depends, labels, message, created, checksum_, *more = known
    return Revision(
        RevisionKey(owner, id_),
        tuple(down),
        tuple(depends),
        tuple(labels),
        message,
        created and datetime.fromisoformat(created),
        path,
        checksum_,
        *more,
    )


def load_script(revision: Revision) -> ModuleType:
    """Import the file of *revision* and return its module; it is not put into ``sys.modules``.

    Whatever the file raises comes through, ``SystemExit`` too.
    """
    name = f"anabranch_revision_{revision.id}"
    if not revision.path.endswith(".py"):
        raise ImportError(f"{revision.path} cannot be imported", path=revision.path)
    # As importlib does it, which works out two times where the bytecode is.
    loader = SourceFileLoader(name, revision.path)
    module = ModuleType(name)
    module.__file__, module.__loader__, module.__package__ = revision.path, loader, ""
    module.__spec__ = ModuleSpec(name, loader, origin=revision.path)
    loader.exec_module(module)
    return module


def checksum(text: str) -> str:
    """Return the checksum of a script's text, blind to line ends, BOM and trailing blanks."""
    lines = map(str.rstrip, text.lstrip("\ufeff").splitlines())
    return "v1:" + hashlib.sha256("\n".join(lines).rstrip("\n").encode()).hexdigest()


def _read(owner: str, path: str, stamp: Stamp | None) -> tuple[Revision | None, bool]:
    """Read one file, and tell whether what it says follows from its *stamp*.

    Not where the header is computed, nor if another file took its place since it was found.
    """
    try:
        with io.FileIO(path) as file:
            is_same = stamp == stamp_of(os.fstat(file.fileno()))
            text = _decode(file.read())
    except (OSError, SyntaxError, UnicodeDecodeError, LookupError) as error:
        raise _UnreadableError(_one_line(error)) from error
    match = _DOCSTRING.match(text)
    quoted, rest = (match[2], text[match.end() :]) if match else ("", text)
    try:
        header, docstring, is_certain = _header(text, _unescaped(quoted), rest, path)
        is_certain = is_certain and is_same
        if header is None:
            return None, is_certain
        revision = Revision(
            key=RevisionKey(owner, _id(header.get("revision"))),
            down_revisions=_names(header, "down_revision"),
            depends_on=_names(header, "depends_on"),
            branch_labels=_names(header, "branch_labels"),
            message=" ".join(_PARAGRAPH.split(docstring.strip(), maxsplit=1)[0].split()),
            created=_created(docstring),
            path=path,
            checksum=checksum(text),
            autocommit=_is_autocommit(text),
            plain=_is_plain(rest.casefold()),
            destructive=_destructive(text),
        )
    except (RecursionError, MemoryError) as error:  # the latter from Python's own parser
        raise _UnreadableError("it is nested too deeply.") from error
    return revision, is_certain


def _is_autocommit(text: str) -> bool:
    mentioned = "autocommit_block" in text or "transactional" in text
    return mentioned and _AUTOCOMMIT.search(text) is not None


def _is_plain(text: str) -> bool:
    """Tell whether *text*, in lower case, lacks all that might end a transaction unseen.

    It is what follows the docstring, which does nothing.

    To look for letters takes a tenth of the time of the patterns, and most files have none of them.
    """
    letters = text.replace("depends_on", "")
    if any(word in letters for word in _WORDS) and _MEDDLING.search(text):
        return False
    lines = (line for line in text.split("\n") if "import" in line or "from" in line)
    return not any(_IMPORT.search(line) for line in lines)


def _destructive(text: str) -> str:
    """Return the reason that a file gives for losing rows, a string on one line."""
    match = _DESTRUCTIVE.search(text) if "destructive" in text else None
    try:
        reason = ast.literal_eval(_COMMENT.sub("", match[1]).strip()) if match else ""
    except (ValueError, SyntaxError):
        return ""
    return " ".join(reason.split()) if isinstance(reason, str) else ""


def _decode(raw: bytes) -> str:
    if b"coding" not in raw and b"\r" not in raw and not raw.startswith(codecs.BOM_UTF8):
        return raw.decode()
    encoding, _ = tokenize.detect_encoding(io.BytesIO(raw).readline)
    return io.TextIOWrapper(io.BytesIO(raw), encoding=encoding).read()


def _header(
    text: str, docstring: str, rest: str, path: str
) -> tuple[dict[str, Any] | None, str, bool]:
    """Read the header by the cheapest way that is certain: literally, by ``ast``, by import.

    :param docstring: what seems to be one; what is returned is certain, where there is a header.
    :param rest: what follows it.
    """
    if header := _standard_header(rest):
        return header, docstring, True
    if not _REVISION.search(text):
        if _DOWN_REVISION.search(text):
            raise _UnreadableError("it assigns down_revision and no revision.")
        if not text.strip() or _REVISION_ID.search(text):
            raise _UnreadableError("it is empty, or its end is missing.")
        return None, "", True
    header = _literal_header(rest)
    if header is not None:
        return header, docstring, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old escapes: whoever runs the file sees them
            tree = ast.parse(text, filename=path)
    except (SyntaxError, ValueError) as error:
        raise _UnreadableError(_one_line(error)) from error
    docstring = ast.get_docstring(tree) or ""
    try:
        return _ast_header(tree), docstring, True
    except _ComputedError:
        return _imported_header(path), docstring, False


def _unescaped(docstring: str) -> str:
    """Return what a docstring says, where its source has backslashes."""
    return re.sub(r"\\([\\\"'])", r"\1", docstring) if "\\" in docstring else docstring


def _literal_header(rest: str) -> dict[str, Any] | None:
    """Read assignments of literals, one a line; None where anything else speaks of the names.

    It also reads the header of a file whose body this Python cannot parse: an old revision that
    never runs again need not compile.
    """
    string = _STRING.search(rest)
    found = _ASSIGNMENT.findall(rest[: string.start()] if string else rest)
    names = [name for name, _ in found]
    mentions = _MENTION.findall(_COMMENT.sub("", rest))
    if sorted(mentions) != sorted(set(names)) or not {"revision", "down_revision"} <= set(names):
        return None
    try:
        return {name: _literal(_COMMENT.sub("", value).strip()) for name, value in found}
    except (ValueError, SyntaxError, TypeError, MemoryError):
        return None


def _standard_header(rest: str) -> dict[str, Any] | None:
    """Read the lines of Alembic's template, where no other line could speak of the names."""
    start = rest.find("\nrevision") + 1
    match = _STANDARD.match(rest, start)
    if match is None or _STRING.search(rest, 0, start):
        return None
    lines, end = match[0], match.end()
    if (
        (lines.count("revision"), lines.count("branch_labels"), lines.count("depends_on"))
        != (2, 1, 1)
        or any(rest.find(word, end) >= 0 for word in ("revision", "branch_labels", "depends_on"))
        or _MENTION.search(_COMMENT.sub("", rest[:start]))
    ):
        return None
    values = (None if value == "None" else value[1:-1] for value in match.groups())
    return dict(zip(_NAMES, values, strict=True))


def _literal(text: str) -> Any:
    """Return what a literal says: those of most headers need no parser."""
    match = _PLAIN.fullmatch(text)
    return match[2] if match else ast.literal_eval(text)


def _ast_header(tree: ast.Module) -> dict[str, Any] | None:
    header: dict[str, Any] = {}
    read: set[ast.AST] = set()
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            targets, value = statement.targets, statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets, value = [statement.target], statement.value
        else:
            continue
        for target in targets:
            if isinstance(target, ast.Name) and target.id in _NAMES:
                read.add(target)
                try:
                    header[target.id] = ast.literal_eval(value)
                except (ValueError, TypeError) as error:
                    raise _ComputedError from error
    if any(_speaks_of_header(node) for node in _module_level(tree) if node not in read):
        raise _ComputedError
    return header if "revision" in header else None


def _module_level(tree: ast.Module) -> Iterator[ast.AST]:
    """Walk what runs at import: not the bodies of functions, whose names are their own."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            waiting.extend(ast.iter_child_nodes(node))


def _speaks_of_header(node: ast.AST) -> bool:
    """Tell whether *node* binds or changes one of the header's names in another way."""
    if isinstance(node, ast.Name):
        # Reading `revision` somewhere is harmless; `depends_on.append(...)` is not.
        return node.id in _NAMES and (isinstance(node.ctx, ast.Store) or node.id != "revision")
    if isinstance(node, ast.alias):
        return (node.asname or node.name) in _NAMES
    return False


def _imported_header(path: str) -> dict[str, Any] | None:
    try:
        module = load_script(Revision(RevisionKey("", Path(path).stem), path=path))
    except (Exception, SystemExit) as error:
        raise _UnreadableError(
            f"its header is computed, and the file fails when it is imported: {_one_line(error)}"
        ) from error
    header = {name: getattr(module, name) for name in _NAMES if hasattr(module, name)}
    return header if "revision" in header else None


def _id(value: object) -> str:
    if not isinstance(value, str):
        raise _UnreadableError(f"revision is {value!r}, not a string.")
    return value


def _names(header: dict[str, Any], name: str) -> tuple[str, ...]:
    if name == "down_revision" and name not in header:
        raise _UnreadableError("it assigns revision, but no down_revision.")
    value = header.get(name)
    if value is None or value in ("", "None"):
        return ()
    values = (value,) if isinstance(value, str) else value
    if not isinstance(values, (tuple, list, set, frozenset)) or not all(
        isinstance(item, str) and item for item in values
    ):
        raise _UnreadableError(f"{name} is {value!r}, not a string or a sequence of strings.")
    return tuple(sorted(values) if isinstance(values, (set, frozenset)) else values)


def _created(docstring: str) -> datetime | None:
    match = _CREATED.search(docstring)
    if match is None:
        return None
    day, time, fraction, zone = match.groups(default="")
    fraction = fraction and fraction.ljust(7, "0")
    zone = "+00:00" if zone == "Z" else zone and f"{zone[:3]}:{zone[-2:]}"
    try:
        return datetime.fromisoformat(f"{day}T{time or '00:00'}{fraction}{zone}")
    except ValueError:
        return None


def _one_line(error: BaseException) -> str:
    text = text_of(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
