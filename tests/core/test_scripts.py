"""The header of a revision file is read without running the file."""

from __future__ import annotations

import codecs
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from anabranch.problems import Problem
from anabranch.revision import Revision, RevisionKey
from anabranch.scripts import checksum, load_script, read_location
from support.trees import revision_file

# What a script must not be able to do while only its header is read.
TRAP = """
import pathlib
pathlib.Path({proof!r}).touch()
"""


def _read(folder: Path, source: str | bytes, name: str = "x.py") -> Revision:
    """The one revision in *source*, which is read without a problem."""
    revisions, problems = _read_all(folder, {name: source})
    assert problems == ()
    (revision,) = revisions
    return revision


def _problem(folder: Path, source: str | bytes) -> Problem:
    revisions, problems = _read_all(folder, {"x.py": source})
    assert revisions == ()
    (problem,) = problems
    return problem


def _read_all(
    folder: Path, sources: dict[str, str | bytes]
) -> tuple[tuple[Revision, ...], tuple[Problem, ...]]:
    for name, source in sources.items():
        content = source.encode() if isinstance(source, str) else source
        (folder / name).write_bytes(content)
    return read_location("billing", folder)


def _header(revision: Revision) -> tuple[object, ...]:
    return revision.id, revision.down_revisions, revision.depends_on, revision.branch_labels


@pytest.fixture
def proof(tmp_path: Path) -> Path:
    """The file that exists once a script has run."""
    return tmp_path / "it ran"


@pytest.fixture
def trap(proof: Path) -> str:
    """Lines that prove that the script they stand in has run."""
    return TRAP.format(proof=str(proof))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty ``versions``."""
    folder = tmp_path / "versions"
    folder.mkdir()
    return folder


# -- headers as people write them


@pytest.mark.parametrize("annotated", [False, True])
def test_template_of_alembic_is_read_whole(folder: Path, annotated: bool) -> None:
    """Message, date, references and checksum of what ``alembic revision`` writes, old and new."""
    source = revision_file(
        "3f2c",
        down=["1a", "1b"],
        depends="core1",
        labels=["billing", "money"],
        message="Take the money\nand run",
        created="2024-02-03 04:05:06.789012",
        annotated=annotated,
    )
    revision = _read(folder, source)
    assert revision == Revision(
        key=RevisionKey("billing", "3f2c"),
        down_revisions=("1a", "1b"),
        depends_on=("core1",),
        branch_labels=("billing", "money"),
        message="Take the money and run",
        created=datetime(2024, 2, 3, 4, 5, 6, 789012),
        path=str(folder / "x.py"),
        checksum=checksum(source),
        autocommit=False,
        plain=True,
    )


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("None", ()),
        ('""', ()),
        ("'None'", ()),
        ("()", ()),
        ("[]", ()),
        ("'a'", ("a",)),
        ("'a',", ("a",)),
        ("('a')", ("a",)),
        ("('a', 'b')", ("a", "b")),
        ("['b', 'a']", ("b", "a")),
        ("{'b', 'a'}", ("a", "b")),
        ("(\n    'a',\n    # why\n    'b',\n)", ("a", "b")),
        ("'a'  # 'b'", ("a",)),
        ("('a',  # not 'b'\n 'c')", ("a", "c")),
        ("'a' \\\n    'b'", ("ab",)),
        ("r'a'", ("a",)),
        ("None  # type: ignore", ()),
    ],
)
@pytest.mark.parametrize("name", ["down_revision", "depends_on", "branch_labels"])
def test_literals_are_read_without_running_anything(
    folder: Path, trap: str, proof: Path, name: str, written: str, read: tuple[str, ...]
) -> None:
    """Strings, tuples, lists, sets, on one line or many, with comments; nothing is nothing."""
    values = {"revision": "'x1'", "down_revision": "None", name: written}
    source = "".join(f"{key} = {value}\n" for key, value in values.items())
    revision = _read(folder, trap + source)
    found = {
        "down_revision": revision.down_revisions,
        "depends_on": revision.depends_on,
        "branch_labels": revision.branch_labels,
    }
    assert found.pop(name) == read
    assert set(found.values()) == {()}
    assert revision.id == "x1"
    assert not proof.exists()


@pytest.mark.parametrize(
    "header",
    [
        "revision: str = 'x1'\ndown_revision: str | None = 'a'\n",
        "revision  =  'x1' ; down_revision = 'a'\n",
        "down_revision = 'a'; revision = 'x1'\n",
        "(revision, down_revision) = ('x1', 'a')\n",
        "if True:\n    revision = 'x1'\n    down_revision = 'a'\n",
        "revision = 'old'\nrevision = 'x1'\ndown_revision = 'a'\n",
        "from sqlalchemy import *\nrevision = 'x1'\ndown_revision = (\n'a',\n)\n",
        "def upgrade():\n    '''Up.'''\n\nrevision = 'x1'\ndown_revision = 'a'\n",
    ],
)
def test_header_in_any_shape_is_a_header(folder: Path, header: str) -> None:
    """What Alembic takes, because Python does, is taken."""
    assert _header(_read(folder, header)) == ("x1", ("a",), (), ())


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_line_ends_and_byte_order_mark_change_nothing(folder: Path, end: str, mark: bytes) -> None:
    """A checkout on Windows is the same revision."""
    source = revision_file("x1", down="a", depends="b", message="Größe", annotated=True)
    revision = _read(folder, mark + source.replace("\n", end).encode())
    assert _header(revision) == ("x1", ("a",), ("b",), ())
    assert (revision.message, revision.created) == ("Größe", datetime(2024, 1, 1))
    assert revision.checksum == checksum(source)


def test_coding_cookie_is_obeyed(folder: Path) -> None:
    """Old files are not all UTF-8, and say so."""
    source = "# -*- coding: latin-1 -*-\n" + revision_file("x1", message="Größe")
    assert _read(folder, source.encode("latin-1")).message == "Größe"


def test_bytes_that_are_not_utf8_are_a_problem_of_that_file(folder: Path) -> None:
    """Without a cookie nobody knows what they mean; the file beside it is read."""
    revisions, problems = _read_all(
        folder,
        {
            "bad.py": revision_file("x1", message="Größe").encode("latin-1"),
            "good.py": revision_file("x2"),
        },
    )
    assert [revision.id for revision in revisions] == ["x2"]
    (problem,) = problems
    assert (problem.code, problem.owner, problem.path) == (
        "AB118",
        "billing",
        str(folder / "bad.py"),
    )
    assert problem.text.startswith(
        f"The revision file {folder / 'bad.py'} of billing cannot be read: "
    )
    assert problem.remedy == "Mend the file, or reinstall the package of billing."


# -- text that only looks like a header


@pytest.mark.parametrize("quote", ['"""', "'''"])
def test_docstring_that_quotes_a_header_is_prose(folder: Path, quote: str) -> None:
    """Only what Python would assign counts."""
    source = (
        f"{quote}Explain\n\nrevision = 'no'\ndepends_on = 'no'\n"
        f"Create Date: 2024-01-01 00:00:00\n{quote}\nrevision = 'x1'\ndown_revision = None\n"
    )
    revision = _read(folder, source)
    assert _header(revision) == ("x1", (), (), ())
    assert (revision.message, revision.created) == ("Explain", datetime(2024, 1, 1))


@pytest.mark.parametrize("quote", ['"""', "'''"])
@pytest.mark.parametrize("name", ["revision", "down_revision", "depends_on", "branch_labels"])
def test_sql_that_looks_like_a_header_is_sql(folder: Path, quote: str, name: str) -> None:
    """A statement over several lines may set a column of that name, at the start of its line."""
    source = (
        "revision = 'x1'\ndown_revision = 'a'\n\n"
        f"def upgrade():\n    op.execute({quote}UPDATE t SET\n{name} = 'no'\n{quote})\n"
    )
    assert _header(_read(folder, source)) == ("x1", ("a",), (), ())


def test_names_in_functions_and_comments_are_harmless(folder: Path, trap: str, proof: Path) -> None:
    """Reading one's own id, or a local of that name, does not make a header computed."""
    source = trap + (
        "revision = 'x1'\ndown_revision = 'a'\n# depends_on = 'no'\nprint(revision)\n"
        "def upgrade():\n    depends_on = 'no'\n    branch_labels = revision\n"
    )
    assert _header(_read(folder, source)) == ("x1", ("a",), (), ())
    assert not proof.exists()


def test_files_that_assign_no_revision_are_passed_over(
    folder: Path, trap: str, proof: Path
) -> None:
    """Helpers, packages and other files may lie beside the revisions; none of them runs."""
    helpers: dict[str, str | bytes] = {
        "__init__.py": trap + "revision = 'no'\n",
        "helper.py": trap + "def create(revision):\n    return revision\n",
        "stars.py": trap + "from os.path import *\n",
        "broken.py": "def (:\n",
        "words.py": f'"""\nrevision files live here\n"""{trap}',
        "notes.txt": "revision = 'no'\n",
        ".#x.py": "revision = 'no'\n",
        "real.py": revision_file("x1"),
    }
    revisions, problems = _read_all(folder, helpers)
    assert problems == ()
    assert [revision.id for revision in revisions] == ["x1"]
    assert not proof.exists()


# -- what cannot run need not


@pytest.mark.parametrize(
    "body",
    [
        "print 'Python 2'\n",
        "def upgrade(:\n",
        "raise RuntimeError('at import')\n",
        "import sys; sys.exit('at import')\n",
        "import package_that_was_renamed\n",
        "x = '\\d'\n",
    ],
)
def test_literal_header_is_read_whatever_the_body_is(folder: Path, body: str) -> None:
    """A revision that ran years ago need not compile today."""
    source = revision_file("x1", down="a", depends="b") + body
    assert _header(_read(folder, source)) == ("x1", ("a",), ("b",), ())


def test_old_escapes_are_no_noise(folder: Path) -> None:
    """Parsing a file that has them warns in Python's own voice; here a warning is an error."""
    source = "revision = 'x1'\ndown_revision = ('a',\n)\npattern = '\\d'\n"
    assert _header(_read(folder, source)) == ("x1", ("a",), (), ())


# -- computed headers

COMPUTED = [
    "try:\n    import {module}\n    depends_on = 'b'\nexcept ImportError:\n    depends_on = None\n",
    "depends_on = ()\ntry:\n    import {module}\n    depends_on += ('b',)\n"
    "except ImportError:\n    pass\n",
    "import importlib.util\ndepends_on = []\nif importlib.util.find_spec('{module}'):\n"
    "    depends_on.append('b')\n",
    "import importlib.util\ndepends_on = 'b' if importlib.util.find_spec('{module}') else None\n",
]


@pytest.mark.parametrize("lines", COMPUTED)
@pytest.mark.parametrize(("module", "needs"), [("json", ("b",)), ("no_such_module_at_all", ())])
def test_header_may_depend_on_what_is_installed(
    folder: Path, lines: str, module: str, needs: tuple[str, ...]
) -> None:
    """Optional dependencies are computed by running the file; there is no other way."""
    source = "revision = 'x1'\ndown_revision = 'a'\n" + lines.format(module=module)
    assert _header(_read(folder, source)) == ("x1", ("a",), needs, ())


def test_header_may_be_imported(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that comes from elsewhere is what it is there."""
    (tmp_path / "headers_of_mine.py").write_text("revision = 'x1'\ndown_revision = 'a'\n")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        source = "from headers_of_mine import revision, down_revision\n"
        assert _header(_read(folder, source)) == ("x1", ("a",), (), ())
    finally:
        sys.modules.pop("headers_of_mine", None)


@pytest.mark.parametrize(
    ("last", "cause"),
    [
        ("raise RuntimeError('no\\nserver')", "RuntimeError: no server"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import no_such_module_at_all", "ModuleNotFoundError: No module named"),
    ],
)
def test_computed_header_of_a_file_that_fails_is_a_problem(
    folder: Path, last: str, cause: str
) -> None:
    """It names owner, file and cause on one line, and the process lives."""
    problem = _problem(folder, f"revision = str(1)\ndown_revision = None\n{last}\n")
    assert (problem.code, problem.owner, problem.level) == ("AB118", "billing", "error")
    assert str(folder / "x.py") in problem.text and "\n" not in problem.text
    assert "its header is computed, and the file fails when it is imported: " in problem.text
    assert cause in problem.text


# -- damaged headers


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("revision = 'x1\ndown_revision = None\n", "SyntaxError: "),
        ("revision = 'x1'\ndown_revision = (\n", "SyntaxError: "),
        ("revision = 'x1'\n", "it assigns revision, but no down_revision."),
        ("revision = 7\ndown_revision = None\n", "revision is 7, not a string."),
        ("revision = None\ndown_revision = None\n", "revision is None, not a string."),
        (
            "revision = 'x1'\ndown_revision = 7\n",
            "down_revision is 7, not a string or a sequence of strings.",
        ),
        (
            "revision = 'x1'\ndown_revision = None\ndepends_on = ('a', None)\n",
            "depends_on is ('a', None), not a string or a sequence of strings.",
        ),
        (
            "revision = 'x1'\ndown_revision = None\nbranch_labels = {'a': 1}\n",
            "branch_labels is {'a': 1}, not a string or a sequence of strings.",
        ),
        ("revision = 'x1'\ndown_revision = {[]}\n", "TypeError: unhashable type"),
        (f"revision = 'x1'\ndown_revision = {'-' * 50_000}1\n", "nested too deeply"),
        ("\n", "it is empty, or its end is missing."),
        ('"""billing\n\nRevision ID: x1\nRevises:\n', "it is empty, or its end is missing."),
        (b"# coding: no-such-codec\nrevision = 'x1'\n", "unknown encoding"),
        (b"revision = 'x1'\ndown_revision = (\x00)\n", "null bytes"),
    ],
)
def test_damaged_header_is_a_problem_that_says_how(
    folder: Path, source: str | bytes, cause: str
) -> None:
    """Never a traceback, and never a file that is silently not there."""
    problem = _problem(folder, source)
    assert (problem.code, problem.owner) == ("AB118", "billing")
    assert str(folder / "x.py") in problem.text
    assert cause in problem.text


def test_file_that_cannot_be_opened_is_a_problem(folder: Path) -> None:
    """A link to nowhere, as a broken editable install leaves it."""
    (folder / "x1.py").symlink_to(folder / "gone.py")
    revisions, (problem,) = read_location("billing", folder)
    assert revisions == ()
    assert "FileNotFoundError" in problem.text


def test_files_are_read_in_the_order_of_their_names(folder: Path) -> None:
    """Not in that of the file system."""
    sources: dict[str, str | bytes] = {
        f"{name}.py": revision_file(name) for name in ("c", "a", "b")
    }
    revisions, _ = _read_all(folder, sources)
    assert [revision.id for revision in revisions] == ["a", "b", "c"]


# -- dates


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2024-02-03 04:05:06.789012", datetime(2024, 2, 3, 4, 5, 6, 789012)),
        ("2024-02-03 04:05:06", datetime(2024, 2, 3, 4, 5, 6)),
        ("2024-02-03T04:05", datetime(2024, 2, 3, 4, 5)),
        ("2024-02-03", datetime(2024, 2, 3)),
        ("2024-02-03 04:05:06.7", datetime(2024, 2, 3, 4, 5, 6, 700000)),
        ("2024-02-03 04:05:06+00:00", datetime(2024, 2, 3, 4, 5, 6, tzinfo=timezone.utc)),
        ("2024-02-03T04:05:06Z", datetime(2024, 2, 3, 4, 5, 6, tzinfo=timezone.utc)),
        (
            "2024-02-03 04:05:06 -0530",
            datetime(2024, 2, 3, 4, 5, 6, tzinfo=timezone(-timedelta(hours=5, minutes=30))),
        ),
        ("2024-13-03 04:05:06", None),
        ("20240203", None),
        ("2024-W05-6", None),
        ("yesterday", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("indent", ["", "    "])
@pytest.mark.parametrize("computed", [False, True])
def test_create_date_is_read_alike_by_every_python(
    folder: Path, written: str, read: datetime | None, indent: str, computed: bool
) -> None:
    """With or without a zone; what is no date is none. However the header is written."""
    header = "revision = 'x1'\ndown_revision = " + ("str('a')" if computed else "'a'")
    source = (
        f'"""m\n\n{indent}Revises: a  \n{indent}Create Date: {written}\n{indent}"""\n{header}\n'
    )
    revision = _read(folder, source)
    assert revision.created == read
    assert read is None or revision.created is not None
    assert revision.created is None or read is None or revision.created.tzinfo == read.tzinfo


@pytest.mark.parametrize(
    ("docstring", "message"),
    [
        ('"""one\n\nRevision ID: x1\n"""', "one"),
        ('"""\none\n   two\n  \nRevision ID: x1\n"""', "one two"),
        ('r"""a \\d\n"""', "a \\d"),
        ('# a comment\n\n# another\n"""one"""', "one"),
        ('""""""', ""),
        ("", ""),
    ],
)
def test_message_is_the_first_paragraph(folder: Path, docstring: str, message: str) -> None:
    """On one line, without the lines that Alembic adds."""
    assert _read(folder, f"{docstring}\nrevision = 'x1'\ndown_revision = None\n").message == message


# -- checksums and flags


def test_checksum_is_blind_to_what_tools_change_and_sees_the_rest() -> None:
    """Line ends, a byte order mark and trailing blanks come and go with a checkout."""
    source = "a = 1\n\nif a:\n    b = 2\n"
    same = [
        source.replace("\n", "\r\n"),
        "\ufeff" + source,
        source.replace("a = 1\n", "a = 1  \t\n"),
        source + "\n\n",
        source.rstrip(),
    ]
    other = [
        "a = 2\n\nif a:\n    b = 2\n",
        source.replace("    b", "     b"),
        source + "#",
        "\n" + source,
    ]
    assert {checksum(text) for text in same} == {checksum(source)}
    assert len({checksum(source), *map(checksum, other)}) == 5
    assert checksum(source).startswith("v1:")
    assert len(checksum(source)) <= 80  # as wide as its column


def test_revision_that_leaves_its_transaction_says_so(folder: Path) -> None:
    """``autocommit_block`` ends the transaction, so the step must be a boundary of its own."""
    body = "with op.get_context().autocommit_block():\n    op.execute('VACUUM')"
    assert _read(folder, revision_file("x1", upgrade=body)).autocommit
    assert not _read(folder, revision_file("x1", upgrade="autocommit_blocks = 1")).autocommit


# -- loading


def test_loaded_script_is_a_module_nobody_else_sees(folder: Path) -> None:
    """Two owners with one id do not meet in ``sys.modules``."""
    revision = _read(folder, revision_file("x1", upgrade="return 7"))
    module = load_script(revision)
    assert module.upgrade() == 7
    assert module.__file__ == revision.path
    assert module not in sys.modules.values()


@pytest.mark.parametrize(
    ("line", "error"),
    [("raise KeyError(1)", KeyError), ("raise SystemExit(2)", SystemExit), ("(", SyntaxError)],
)
def test_what_a_script_raises_comes_through(
    folder: Path, line: str, error: type[BaseException]
) -> None:
    """Whoever runs it says what it means."""
    revision = _read(folder, revision_file("x1") + line + "\n")
    with pytest.raises(error):
        load_script(revision)


def test_file_without_the_ending_of_python_is_not_loaded(tmp_path: Path) -> None:
    """An import error that names the file, not an attribute error of None."""
    path = tmp_path / "x.txt"
    path.write_text("")
    with pytest.raises(ImportError, match=r"x\.txt cannot be imported"):
        load_script(Revision(RevisionKey("a", "x"), path=str(path)))
