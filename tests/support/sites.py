"""A throw-away site directory, and the application run from it in real processes.

Not a virtual environment: interpreter and third-party packages are those of the test run.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from types import ModuleType

from support.distributions import Distribution, uninstall
from support.starter import Starter

_REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE_ROOTS = tuple(_REPOSITORY / root for root in ("core", "plugins_api", "migrations"))

#: All that a process started here inherits: a variable of the developer's shell decides no test.
_INHERITED = (
    *("PATH", "HOME", "USER", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "PATHEXT", "COMSPEC"),
    *("VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    *("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG", "COVERAGE_FILE"),
)


@dataclass(frozen=True)
class Result:
    """How a process ended, and what it wrote."""

    code: int
    out: str
    err: str

    def expect(self, code: int = 0) -> Result:
        """This result, if it ended with *code*; else an assertion error that shows everything."""
        if self.code != code:
            raise AssertionError(f"exit code {self.code}, not {code}\n{self}")
        return self

    def __str__(self) -> str:
        return f"code: {self.code}\n--- out ---\n{self.out}\n--- err ---\n{self.err}"


class Site:
    """One site directory with the distributions installed in it.

    Knows only what is on disk: a distribution installed behind its back is as good as any.
    """

    def __init__(self, path: Path, *, application: str = "shop") -> None:
        self.path = path.resolve()
        self.application = application
        self._started: list[subprocess.Popen[str]] = []
        self.path.mkdir(parents=True, exist_ok=True)

    @property
    def paths(self) -> list[Path]:
        """The directories modules come from: the site, then the source of each editable."""
        sources = [
            Path(line)
            for pth in sorted(self.path.glob("*.pth"))
            for line in pth.read_text(encoding="utf-8").splitlines()
        ]
        return [self.path, *dict.fromkeys(sources)]

    def install(self, *distributions: Distribution) -> None:
        """Install *distributions*, each in place of any version of it that is here."""
        for distribution in distributions:
            distribution.install(self.path)

    def uninstall(self, *distributions: str | Distribution) -> None:
        """Uninstall by distribution name (``shop-billing``, not the plugin's name ``billing``)."""
        for each in distributions:
            uninstall(self.path, each if isinstance(each, str) else each.name)

    def develop(self, distribution: Distribution, source: Path | None = None) -> Path:
        """Install editable from *source*, by default a directory next to the site; returns it."""
        source = source or self.path.parent / "sources" / distribution.name
        distribution.develop(self.path, source)
        return source.resolve()

    def environment(self, **extra: str) -> dict[str, str]:
        """The environment of a process that lives in this site; *extra* wins."""
        roots = () if _anabranch_is_installed() else SOURCE_ROOTS
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        return {
            **inherited,
            "PYTHONPATH": os.pathsep.join(map(str, (*self.paths, *roots))),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONSAFEPATH": "1",  # `python -m` must not import from the current directory
            "XDG_CACHE_HOME": str(self.path.parent / f"{self.path.name}-cache"),
            **extra,
        }

    def run(
        self,
        *arguments: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        timeout: float = 120,
    ) -> Result:
        """Run ``python -m APPLICATION ARGUMENTS`` to its end, by default in the site directory."""
        environment = self.environment(**(env or {}))
        if _may_be_forked(env or {}):
            return Result(
                *_starter().run(
                    self.application,
                    [str(argument) for argument in arguments],
                    cwd=cwd or self.path,
                    env=environment,
                    stdin=stdin,
                    timeout=timeout,
                )
            )
        return self.python(
            "-m", self.application, *arguments, cwd=cwd, env=env, stdin=stdin, timeout=timeout
        )

    def python(
        self,
        *arguments: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        timeout: float = 120,
    ) -> Result:
        """Run ``python ARGUMENTS`` to its end, with what is installed here."""
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=cwd or self.path,
            env=self.environment(**(env or {})),
            input=stdin,
            timeout=timeout,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def start(
        self,
        *arguments: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start ``python -m APPLICATION ARGUMENTS`` and return at once; `close` ends what is left.

        Both outputs are pipes: end with ``communicate()``.
        """
        process = subprocess.Popen(
            [sys.executable, "-m", self.application, *map(str, arguments)],
            cwd=cwd or self.path,
            env=self.environment(**(env or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        self._started.append(process)
        return process

    def close(self) -> None:
        """Kill the started processes that still run, and close their pipes."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        self._started.clear()

    @contextmanager
    def on_path(self) -> Iterator[None]:
        """Make this process see the site; afterwards it forgets every module that came from it."""
        added = self.paths
        bytecode = sys.dont_write_bytecode
        # Bytecode is checked by whole seconds: another version of a plugin would meet the old.
        sys.dont_write_bytecode = True
        sys.path[:0] = map(str, added)
        importlib.invalidate_caches()
        try:
            yield
        finally:
            sys.dont_write_bytecode = bytecode
            for path in added:
                sys.path.remove(str(path))
            for name, module in list(sys.modules.items()):
                if _comes_from(module, added):
                    del sys.modules[name]
            for entry in list(sys.path_importer_cache):
                if any(Path(entry).is_relative_to(path) for path in added):
                    del sys.path_importer_cache[entry]
            importlib.invalidate_caches()


def _comes_from(module: ModuleType | None, paths: list[Path]) -> bool:
    # Some libraries put lazy objects into sys.modules: look, but wake nothing up.
    attributes = getattr(module, "__dict__", {})
    locations: list[object] = [attributes.get("__file__")]
    try:
        locations += list(attributes.get("__path__") or ())
    except KeyError:  # a namespace package whose parent is already gone
        return True
    return any(
        isinstance(location, str) and Path(location).is_relative_to(path)
        for location in locations
        for path in paths
    )


def _may_be_forked(extra: Mapping[str, str]) -> bool:
    """Whether a fork is as good as a new interpreter, which reads some variables as it starts."""
    fresh = {"ANABRANCH_TESTS_FRESH", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"}
    return not fresh & os.environ.keys() and not any(
        name.startswith(("PYTHON", "LANG", "LC_", "TZ")) for name in extra
    )


@cache
def _starter() -> Starter:
    return Starter()


@lru_cache
def _anabranch_is_installed() -> bool:
    """Whether a new process would find anabranch by itself, whatever pytest did to this one."""
    probe = "import importlib.util as u, sys; sys.exit(u.find_spec('anabranch') is None)"
    # -I: neither PYTHONPATH nor the current directory.
    return subprocess.run([sys.executable, "-I", "-c", probe], check=False).returncode == 0
