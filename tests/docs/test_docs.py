"""The documentation says what the software does."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import anabranch
from anabranch.cli.program import main
from anabranch_plugins_api import hookspecs
from support.help_pages import page

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def test_the_commands_page_is_what_help_prints() -> None:
    written = (ROOT / "docs/reference/commands.md").read_text(encoding="utf-8")
    assert written == page(), "run: python tests/support/help_pages.py > docs/reference/commands.md"


def test_every_command_says_what_it_does() -> None:
    for text in re.findall(r"```text\n(.*?)```", page(), re.DOTALL):
        usage, _, rest = text.partition("\n\n")
        assert usage.startswith("Usage: ")
        assert len(rest.split("Options:")[0].split()) >= 5, usage
    assert main.help


def test_every_error_code_is_documented_and_every_documented_code_exists() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "core").rglob("*.py"))
    raised = set(re.findall(r'"(AB\d{3})"', source)) - {"AB000"}
    table = (ROOT / "docs/reference/errors.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| (AB\d{3}) \|", table, re.MULTILINE)
    assert sorted(raised) == sorted(documented)


def test_every_hook_is_documented_with_its_arguments() -> None:
    text = (ROOT / "docs/reference/hooks.md").read_text(encoding="utf-8")
    for name, function in vars(hookspecs).items():
        if name.startswith("anabranch_") and callable(function):
            arguments = ", ".join(function.__code__.co_varnames[: function.__code__.co_argcount])
            assert f"| `{name}({arguments})` |" in text


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


def test_the_toml_in_the_docs_is_toml() -> None:
    blocks = [
        block
        for path in PAGES
        for block in re.findall(r"```toml\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    ]
    assert len(blocks) >= 2
    for block in blocks:
        assert tomllib.loads(block)


def test_the_public_names_are_sorted_and_there() -> None:
    assert anabranch.__all__ == sorted(anabranch.__all__)
    assert all(hasattr(anabranch, name) for name in anabranch.__all__)
