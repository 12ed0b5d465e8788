"""What people and packages get wrong, generated: each case damages one ready application."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from support.trees import revision_file

SECRET = "pl4nted-s3cret"

HOSTILE = (
    "'; DROP TABLE one; --",
    '"; DROP TABLE one; --',
    "../../../etc/passwd",
    "/etc/passwd",
    "one' OR '1'='1",
    "%s %(x)s {0} {name} $x",
    b"\\x1b[31mred\\x1b[0m".decode("unicode_escape"),
    "two\nlines\nState: fine",
    "\t",
    "",
    " ",
    "ä ö ü 漢字 🌊",
    "\u202e\u2066reversed",
    "x" * 5000,
    "@",
    "@@",
    "core@",
    "core@c1@c1",
    "--help",
    "-",
    "None",
    "\\",
    '"""\nimport os\n"""',
)


@dataclass(frozen=True)
class Place:
    """One application, ``store``, with its plugin ``extra``, and a deployment of it."""

    root: Path

    @property
    def site(self) -> Path:
        return self.root / "site"

    @property
    def deployment(self) -> Path:
        return self.root / "deployment"

    @property
    def config(self) -> Path:
        return self.deployment / "config.toml"

    def versions(self, owner: str) -> Path:
        package = "store" if owner == "core" else f"store_{owner}"
        return self.site / package / "migrations" / "versions"

    def script(self, owner: str) -> Path:
        """The file of the pending revision of *owner*."""
        return self.versions(owner) / f"{owner[0]}9_bad.py"

    def entry_points(self, text: str) -> None:
        """Let the plugin's distribution declare *text*."""
        (next(self.site.glob("store_extra-*.dist-info")) / "entry_points.txt").write_text(text)


@dataclass(frozen=True)
class Case:
    """A slip, what is then asked for, and what must be answered.

    :ivar codes: the exit codes that are right.
    :ivar says: what a failure must name.
    :ivar env: what the environment holds besides; ``{root}`` is where the place is.
    :ivar runs: whether revisions before the fault may have been applied.
    """

    name: str
    prepare: Callable[[Place], object]
    arguments: tuple[str, ...] = ("init-db", "{deployment}")
    codes: frozenset[int] = frozenset({2})
    says: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    runs: bool = False


def cases(chance: random.Random) -> list[Case]:
    """Return all cases, in an order of *chance*."""
    found = [
        *_configurations(chance),
        *_urls(),
        *_arguments(),
        *_directories(),
        *_messages(),
        *_files(),
        *_headers(),
        *_bodies(),
        *_entry_points(),
        *_hooks(),
    ]
    chance.shuffle(found)
    return found


def nothing(_place: Place) -> None:
    """Damage nothing."""


def _configurations(chance: random.Random) -> Iterator[Case]:
    url = '[sqlalchemy]\ndatabase_url = "sqlite:///./store.sqlite"\n'
    values = ("5", "true", "1.5", "[1]", '["a", 5]', "1979-05-27", '""', "nan", "-1")
    typed = {
        "sqlalchemy.database_url": ("5", "true", "[1]", "{ a = 1 }", "1979-05-27"),
        "plugins.enabled": ("5", '"extra"', "[5]", "{ a = 1 }", "true"),
        "plugins.disabled": ("5", '"extra"', "[5]", "{ a = 1 }", "true"),
        "migrations.lock_timeout": ("true", '"5"', "[1]", "{ a = 1 }", "nan", "-1", "inf"),
        "migrations.backup": ("5", '"no"', "[1]"),
        "migrations.backups_kept": ("true", '"5"', "-1", "1.5"),
        "migrations.backup_command": ("5", "true", "[5]"),
    }
    for key, wrong in typed.items():
        section, _, name = key.partition(".")
        for value in wrong:
            text = f"[{section}]\n{name} = {value}\n"
            text = text if section == "sqlalchemy" else url + text
            yield _configured(f"{key} = {value}", text.encode())
    for section in ("sqlalchemy", "plugins", "migrations"):
        for value in values:
            yield _configured(f"{section} = {value}", f"{section} = {value}\n".encode())
    for text in ("[plugin]", "[migration]", "[plugins]\ndisable = []", "[migrations]\nx = 1"):
        yield _configured(text, (url + text).encode())
    broken = (
        b"[sqlalchemy\n",
        b"= 5",
        b"[a]\n[a]",
        b"x = 'open",
        b"\x00",
        b"\xff\xfe[\x00s\x00",
        b'[sqlalchemy]\ndatabase_url = "sqlite:///./\xe4.sqlite"\n',
        b"{",
        b"<<<<<<< HEAD\n",
        f'[sqlalchemy]\ndatabase_url = "postgresql://u:{SECRET}@h/d\n'.encode(),
        f"[sqlalchemy]\ndatabase_url = postgresql://u:{SECRET}@h/d\n".encode(),
        f'[sqlalchemy]\ndatabase_url = ["{SECRET}"]\n'.encode(),
        f'[sqlalchemy]\n"{SECRET}"\n'.encode(),
        b"[" * 5000,
        bytes(chance.randrange(128, 256) for _ in range(2000)),
    )
    for data in broken:
        yield _configured(f"bytes {data[:20]!r}", data)
    yield Case(
        "configuration is a directory",
        _directory_as_config,
        says=("config.toml",),
    )
    yield Case(
        "configuration is a loop",
        _loop_as_config,
        says=("config.toml",),
    )
    yield Case(
        "configuration elsewhere",
        nothing,
        says=("nowhere.toml",),
        env=(("STORE_CONFIG_FILE", "/nowhere.toml"),),
    )
    yield Case(
        "byte order mark",
        lambda p: p.config.write_bytes(b"\xef\xbb\xbf" + p.config.read_bytes()),
        codes=frozenset({0}),
    )
    yield Case(
        "unknown plugins",
        lambda p: p.config.write_text(
            p.config.read_text() + '[plugins]\ndisabled = ["extar", "../x", ""]\n'
        ),
        codes=frozenset({0}),
        runs=True,
    )


def _directory_as_config(place: Place) -> None:
    place.config.unlink()
    place.config.mkdir()


def _loop_as_config(place: Place) -> None:
    place.config.unlink()
    place.config.symlink_to(place.config)


def _configured(name: str, text: bytes) -> Case:
    return Case(
        f"configuration: {name}", lambda p: p.config.write_bytes(text), says=("config.toml",)
    )


def _urls() -> Iterator[Case]:
    p = SECRET
    both = frozenset({2, 9})
    for text in (
        p,
        f":{p}",
        f"://{p}",
        f"x://u:{p}@h/d",
        f"postgresql:/u:{p}@h/d",
        f"postgresql//u:{p}@h/d",
        f"postgresql+nosuch://u:{p}@h/d",
        f"postgresql://u:{p}@h:port/d",
        f"postgresql://u:{p}@h:99999999/d",
        f"postgresql://u:{p}@[::1/d",
        f"oracle://u:{p}@h/d",
        f"mssql+pyodbc://u:{p}@h/d",
        f"sqlite://u:{p}@h/d",
        f"sqlite+aiosqlite://u:{p}@h/d",
        f"postgresql+asyncpg://u:{p}@h/d",
        f"mysql+aiomysql://u:{p}@h/d",
        f"postgresql://u:{p}@127.0.0.1:1/d",
        f"postgresql+psycopg://u:{p}@127.0.0.1:1/d",
        f"postgresql+psycopg://u:{p}@nosuch.invalid/d",
        f"postgresql+psycopg://u@127.0.0.1:1/d?password={p}",
        f"postgresql+psycopg://u:{p}@127.0.0.1:1/d?nosuchoption=1",
        f"postgresql+psycopg://u:{p}@127.0.0.1:1/d?sslmode=nosuch",
        f"postgresql+psycopg://u:{p}/@?#@127.0.0.1:1/d",
        f"postgresql+psycopg://u:%zz{p}@127.0.0.1:1/d",
        f"postgresql+psycopg://u:{p}@/d?host=/nowhere",
        f"mysql+pymysql://u:{p}@127.0.0.1:1/d",
        f"mariadb+pymysql://u:{p}@127.0.0.1:1/d",
        f"jdbc:postgresql://u:{p}@h/d",
        f"postgres://u:{p}@127.0.0.1:1/d",
        f"{p}\n",
        f"ht tp://{p}",
        f"postgresql+psycopg://u:{p}@127.0.0.1:1/d?connect_timeout=x",
        f"postgresql+psycopg://u:{p}@127.0.0.1:1/'; DROP TABLE one; --",
    ):
        for verb in ("init-db", "db status"):
            yield Case(
                f"url {text!r} in the environment, {verb}",
                nothing,
                (*verb.split(), "{deployment}"),
                codes=both,
                env=(("STORE_SQLALCHEMY_DATABASE_URL", text),),
            )
    for text in (
        "sqlite:///./../../../nowhere/x.sqlite",
        "sqlite:////proc/x.sqlite",
        "sqlite:////dev/null/x",
    ):
        yield Case(
            f"url {text!r}", nothing, codes=both, env=(("STORE_SQLALCHEMY_DATABASE_URL", text),)
        )


def _arguments() -> Iterator[Case]:
    for text in HOSTILE:
        for verb in ("downgrade", "stamp"):
            yield Case(
                f"{verb} {text[:30]!r}",
                nothing,
                ("db", verb, "{deployment}", "--", text),
                codes=frozenset({2, 3, 4, 8}),
            )
        for verb in ("purge", "forget"):
            yield Case(
                f"{verb} {text[:30]!r}",
                nothing,
                ("db", verb, "--yes", "{deployment}", "--", text),
                codes=frozenset({2, 3, 4, 8}),
            )
        yield Case(
            f"digest {text[:30]!r}",
            _script("core", _good("core")),
            ("init-db", "{deployment}", f"--digest={text}"),
            codes=frozenset({8}),
        )
        yield Case(
            f"make-migrations --plugin {text[:30]!r}",
            nothing,
            ("make-migrations", f"--plugin={text}"),
        )
        yield Case(
            f"restore {text[:30]!r}",
            nothing,
            ("db", "restore", "--yes", "{deployment}", "--", text),
            codes=frozenset({2, 8}),
        )
    for text in ("x", "-1", "nan", "", "1e999999", "inf"):
        yield Case(
            f"lock timeout {text!r}",
            nothing,
            ("init-db", "{deployment}", f"--lock-timeout={text}"),
            codes=frozenset({0, 2}),
            runs=True,
        )
    yield Case("unknown command", nothing, ("db", "nosuch", "{deployment}"))
    yield Case("no directory", nothing, ("init-db",))


def _directories() -> Iterator[Case]:
    shapes = (
        "/nowhere/at/all",
        "{root}/file",
        "{root}/file/below",
        "{root}/loop",
        "/dev/null",
        "",
        "x" * 300,
        "{root}/full",
        "{root}/two\nlines",
    )

    def prepare(place: Place) -> None:
        (place.root / "file").write_text("")
        (place.root / "loop").symlink_to(place.root / "loop")
        (place.root / "full").mkdir()
        (place.root / "full" / "thesis.txt").write_text("")

    for shape in shapes:
        for verb in ("db status", "db plan", "db history", "make-migrations"):
            yield Case(
                f"{verb} {shape!r}"[:60], prepare, (*verb.split(), shape), codes=frozenset({2})
            )
    for shape in shapes[1:6] + shapes[6:8]:
        yield Case(f"init-db {shape!r}"[:60], prepare, ("init-db", shape), codes=frozenset({2}))


def _messages() -> Iterator[Case]:
    for text in HOSTILE:
        yield Case(
            f"message {text[:30]!r}",
            nothing,
            ("make-migrations", f"--message={text}"),
            codes=frozenset({0, 2, 4}),
        )


def _script(owner: str, data: bytes | str, name: str = "") -> Callable[[Place], object]:
    def prepare(place: Place) -> None:
        path = place.script(owner)
        path = path.with_name(name) if name else path
        path.write_bytes(data if isinstance(data, bytes) else data.encode())

    return prepare


def _good(owner: str, upgrade: str = "pass") -> str:
    """Return a script that follows the applied one of *owner*, and can run."""
    letter = owner[0]
    return revision_file(f"{letter}9", down=f"{letter}1", created="2024-09-01", upgrade=upgrade)


def _files() -> Iterator[Case]:
    for owner in ("core", "extra"):
        good = _good(owner)
        bad = frozenset({4})
        for name, data in {
            "latin-1": good.replace("a change", "\xe4").encode("latin-1"),
            "utf-16": good.encode("utf-16"),
            "null": good.encode() + b"\0",
            "binary": os.urandom(400),
            "syntax": good.replace("def upgrade()", "def upgrade(")
            .replace("= None", "= (None)")
            .encode(),
            "indentation": good.replace("    pass", "\tpass\n    pass").encode(),
            "merge conflict": b"<<<<<<< HEAD\n" + good.encode(),
            "unknown encoding": b"# coding: nosuch\n" + good.encode(),
            "two documents": good.encode() + b"\nrevision = 5\n",
        }.items():
            yield Case(
                f"{owner} script: {name}",
                _script(owner, data),
                codes=bad,
                says=(owner, f"{owner[0]}9_bad.py"),
            )
        for name, data in {
            "byte order mark": b"\xef\xbb\xbf" + good.encode(),
            "crlf": good.replace("\n", "\r\n").encode(),
            "latin-1 cookie": b"# coding: latin-1\n"
            + good.replace("a change", "\xe4").encode("latin-1"),
            "empty": b"",
            "a helper that does not parse": b"def upgrade(:\n",
            "huge": good.encode() + b"# filler\n" * 500_000,
            "cr": good.replace("\n", "\r").encode(),
        }.items():
            yield Case(
                f"{owner} script: {name}", _script(owner, data), codes=frozenset({0}), runs=True
            )
        for name in (
            "with space.py",
            "quo'te.py",
            "new\nline.py",
            "ä.py",
            "a.b.c.py",
            "-x.py",
            "x'; --.py",
        ):
            yield Case(
                f"{owner} file {name!r}",
                _script(owner, good, name),
                codes=frozenset({0}),
                runs=True,
            )
        yield Case(
            f"{owner}: dangling link",
            partial(_link, owner=owner),
            codes=bad,
            says=(owner,),
        )
        yield Case(
            f"{owner}: link loop",
            partial(_link, owner=owner, loop=True),
            codes=bad,
            says=(owner,),
        )
        yield Case(
            f"{owner}: folder named as a script",
            partial(_folder, owner=owner),
            codes=frozenset({0, 4}),
            runs=True,
        )

        yield Case(
            f"{owner}: link to a file outside",
            partial(_link, owner=owner, text=good),
            codes=frozenset({0, 4}),
            runs=True,
        )
        yield Case(
            f"{owner}: versions is a file",
            partial(_swap, owner=owner),
            codes=bad,
            says=(owner,),
        )


def _link(place: Place, *, owner: str, text: str = "", loop: bool = False) -> None:
    """Let the script be a link: to a file outside with *text*, to itself, or to nothing."""
    target = place.script(owner) if loop else place.root / "outside.py"
    if text:
        target.write_text(text)
    place.script(owner).symlink_to(target)


def _folder(place: Place, *, owner: str) -> None:
    place.script(owner).mkdir()


def _swap(place: Place, *, owner: str) -> None:
    """Put a file in the place of the folder of scripts."""
    folder = place.versions(owner)
    folder.rename(folder.with_name("gone"))
    folder.write_text("")


def _headers() -> Iterator[Case]:
    for owner in ("core", "extra"):
        good, mine = _good(owner), f"{owner[0]}1"
        reserved = ("heads", "head", "base")
        for name in (*HOSTILE[:13], *reserved, "x" * 33, "core@x", "a b", "+1", "a,b"):
            yield _header(
                owner,
                f"id {name[:20]!r}",
                good.replace(f"revision = '{owner[0]}9'", f"revision = {name!r}"),
            )
        for value in ("5", "None", "[]", "b'x'", "('a', 'b')", "True", "object()", "1/0", "nosuch"):
            yield _header(
                owner,
                f"id {value}",
                good.replace(f"revision = '{owner[0]}9'", f"revision = {value}"),
            )
        for value in (
            "'gone'",
            f"'{owner[0]}9'",
            "5",
            "['a', 5]",
            "{'a': 1}",
            "1/0",
            "'../x'",
            "'two\\nlines'",
            "('x',) * 3",
        ):
            yield _header(
                owner,
                f"down {value}",
                good.replace(f"down_revision = '{mine}'", f"down_revision = {value}"),
            )
        for value in (
            "'gone'",
            "5",
            "['a', 5]",
            "{'a': 1}",
            "1/0",
            "'nobody@x'",
            "'@'",
            f"'{owner[0]}9'",
        ):
            yield _header(
                owner,
                f"depends {value}",
                good.replace("depends_on = None", f"depends_on = {value}"),
            )
        for value in ("5", "['a', 5]", "{'a': 1}", "1/0"):
            yield _header(
                owner,
                f"labels {value}",
                good.replace("branch_labels = None", f"branch_labels = {value}"),
            )
        yield _header(owner, "no revision", good.replace(f"revision = '{owner[0]}9'", "", 1))
        yield _header(owner, "twice", good.replace(f"'{owner[0]}9'", f"'{mine}'"))
        for how in ("1/0", "raise SystemExit(0)", "import nosuch", "raise KeyError('x')"):
            yield _header(
                owner, f"import: {how}", good.replace("def upgrade", f"{how}\n\ndef upgrade")
            )
        yield _header(owner, "no upgrade", good.replace("def upgrade", "def upgrades"))
        yield _header(owner, "upgrade is a number", good + "\nupgrade = 5\n")


def _header(owner: str, name: str, text: str) -> Case:
    return Case(
        f"{owner} header: {name}",
        _script(owner, text),
        codes=frozenset({4}),
        says=(owner, f"{owner[0]}9_bad.py"),
    )


def _bodies() -> Iterator[Case]:
    url = "op.get_bind().engine.url.render_as_string(hide_password=False)"
    for owner in ("core", "extra"):
        for body in (
            "1 / 0",
            "raise SystemExit(0)",
            "raise SystemExit('done')",
            "import sys; sys.exit(3)",
            "raise RecursionError",
            "def f(): f()\nf()",
            "raise MemoryError",
            "raise ValueError('two\\nlines\\nState: fine\\x1b[31m')",
            "class E(Exception):\n    def __str__(self): raise ValueError('no words')\nraise E",
            "raise Exception",
            f"raise ValueError({url})",
            f"raise ValueError(repr({url}))",
            "op.execute('NOT SQL')",
            "op.execute('SELECT * FROM nowhere')",
            "op.drop_table('nowhere')",
            "op.add_column('nowhere', sa.Column('x', sa.Integer))",
            "op.create_table('one', sa.Column('id', sa.Integer))",
            "op.get_bind().execute(sa.text('SELECT :x'), {})",
            "op.get_bind().exec_driver_sql('SELECT 1 FROM')",
            "op.nosuch()",
            "import nosuch",
            "raise BaseExceptionGroup('g', [ValueError('x')]) if False else AssertionError('')",
            "with op.batch_alter_table('nowhere') as batch:\n    batch.drop_column('x')",
            "raise GeneratorExit",
            "import asyncio; raise asyncio.CancelledError",
            "raise StopIteration",
            "op.get_bind().close()\nop.execute('SELECT 1')",
            "raise UnicodeDecodeError('utf-8', b'x', 0, 1, 'bad')",
        ):
            text = _good(owner, upgrade=body)
            yield Case(
                f"{owner} upgrade: {body[:50]!r}",
                _script(owner, text),
                runs=True,
                codes=frozenset({5}),
                says=(f"{owner}@{owner[0]}9", f"{owner[0]}9_bad.py"),
            )
        for body in (
            "import os; os.chdir('/')",
            "print('\\x1b[31m' * 3)",
            "import warnings; warnings.warn('careful')",
            "import pathlib; pathlib.Path(__file__).unlink()",
            "import time; time.sleep(1)",
            "import logging; logging.disable()",
            "import gc; gc.disable()",
            "import locale; locale.setlocale(locale.LC_ALL, 'C')",
            "import sys; sys.stdout.write('x' * 100000)",
        ):
            text = _good(owner, upgrade=body)
            yield Case(
                f"{owner} upgrade: {body!r}", _script(owner, text), runs=True, codes=frozenset({0})
            )


def _entry_points() -> Iterator[Case]:
    good = "store_extra.migrations"
    for value in (
        "",
        ":",
        "nosuch",
        "nosuch.migrations",
        "../x",
        "a b",
        "1x",
        f"{good}:",
        f"{good}:x:y",
        "os",
        f"{good}.nosuch",
        "store_extra.migrations [x",
        "'; DROP TABLE one; --",
        "sys",
        "x" * 3000,
    ):
        yield Case(
            f"migrations = {value[:30]!r}",
            partial(Place.entry_points, text=f"[store.migrations]\nextra = {value}\n"),
            codes=frozenset({0, 4}),
            says=("extra",),
            runs=True,
        )
    for name in (
        "core",
        "Core",
        "../x",
        "-",
        "x" * 200,
        "a b",
        "ä",
        "'; DROP TABLE one; --",
        "a@b",
        "two\x0blines",
    ):
        yield Case(
            f"plugin named {name[:30]!r}",
            partial(Place.entry_points, text=f"[store.migrations]\n{name} = {good}\n"),
            codes=frozenset({4}),
            says=("store-extra",),
        )
    for text in ("garbage", "[store.migrations]\nextra\n", "\x00", "[store", "=\n"):
        yield Case(
            f"entry_points.txt {text!r}",
            partial(Place.entry_points, text=text),
            codes=frozenset({0, 4}),
            runs=True,
        )
    yield Case(
        "two spellings",
        lambda p: p.entry_points(f"[store.migrations]\nextra = {good}\nExtra = store_extra\n"),
        codes=frozenset({4}),
        says=("extra",),
    )


def _hooks() -> Iterator[Case]:
    def hooked(text: str) -> Callable[[Place], object]:
        def prepare(place: Place) -> None:
            (place.site / "store_extra" / "hooks.py").write_text(text)
            place.entry_points(
                "[store]\nextra = store_extra.hooks\n"
                "[store.migrations]\nextra = store_extra.migrations\n"
            )

        return prepare

    start = "from anabranch_plugins_api import hookimpl, Seed\n@hookimpl\n"
    for text in (
        "1/0",
        "raise SystemExit(0)",
        "import nosuch",
        "def (",
        "\x00",
        start + "def anabranch_seeds(nosuch): return []\n",
    ):
        yield Case(
            f"hooks: {text!r}", hooked(text), codes=frozenset({4}), says=("extra",), runs=True
        )
    for value in ("5", "'x'", "[5]", "{'a': 1}", "object()", "1/0", "exit(0)"):
        yield Case(
            f"requirements: {value}",
            hooked(start + f"def anabranch_requirements(): return {value}\n"),
            codes=frozenset({2, 5}),
            says=("extra",),
        )
        yield Case(
            f"seeds: {value}",
            hooked(start + f"def anabranch_seeds(): return {value}\n"),
            codes=frozenset({6}),
            says=("extra",),
            runs=True,
        )
    for body in (
        "1/0",
        "exit(0)",
        "c.execute(None)",
        "c.exec_driver_sql('NOT SQL')",
        "c.commit()",
        "c.close()",
    ):
        text = start + f"def anabranch_seeds():\n    return [Seed('s', lambda c: {body})]\n"
        yield Case(
            f"seed: {body}", hooked(text), codes=frozenset({0, 6}), says=("extra",), runs=True
        )
    for hook in ("before_run", "before_revision", "after_revision", "after_run"):
        for body in ("1/0", "exit(0)", "connection.close()"):
            text = start + f"def anabranch_{hook}(connection): {body}\n"
            yield Case(
                f"{hook}: {body}",
                hooked(text),
                codes=frozenset({0, 5, 6}),
                says=("extra",),
                runs=True,
            )
