"""Check the answers before any file is written."""

import keyword
import re
import sys

# Rendered by cookiecutter as a Python literal, so that quotes in an answer are safe.
ANSWERS = {{ dict(cookiecutter)|pprint }}

IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_]*"
DOTTED = rf"{IDENTIFIER}(\.{IDENTIFIER})*"
DISTRIBUTION = r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"
EMAIL = r"([^\s@<>,\"\\]+@[^\s@<>,\"\\]+)?"
CONTROL = r"[\x00-\x1f\x7f-\x9f\u2028\u2029]"

RULES = {
    "host": (IDENTIFIER, "letters, digits and underscores, such as shop"),
    "host_distribution": (DISTRIBUTION, "a name that pip can install, such as shop"),
    "host_command": (r"[\w./-]+( [\w./=-]+)*", "a command without quotes, such as shop"),
    "host_base": (f"{DOTTED}:{DOTTED}", "module:attribute, such as shop.models:Base"),
    "plugin_name": (
        r"[A-Za-z][A-Za-z0-9._-]*",
        "a letter, then letters, digits, dots, dashes or underscores",
    ),
    "author_name": (r".*\S.*", "a name: the licence carries it"),
    "author_email": (EMAIL, "one e-mail address, or nothing"),
    "description": (r".*", "one line"),
}

# The name begins those of tables and constraints, which PostgreSQL cuts at 63 characters.
LONGEST_NAME = 40


def problem() -> str | None:
    """Say what is wrong with the first answer that cannot be used."""
    for question, (pattern, wanted) in RULES.items():
        answer = ANSWERS[question]
        if re.search(CONTROL, answer) or not re.fullmatch(pattern, answer):
            return f"{question} must be {wanted}; got {answer!r}."

    host, name, package = ANSWERS["host"], ANSWERS["plugin_name"], ANSWERS["__package"]
    for word in [host, *re.split("[.:]", ANSWERS["host_base"])]:
        if keyword.iskeyword(word):
            return f"host and host_base cannot hold the Python keyword {word!r}."

    if len(package) > LONGEST_NAME:
        return f"plugin_name must have at most {LONGEST_NAME} characters; got {len(package)}."
    taken = {
        "core",
        "tests",
        host.lower(),
        re.sub("[-_.]+", "_", ANSWERS["host_distribution"]).lower(),
        ANSWERS["__base_module"].partition(".")[0].lower(),
        *(word.lower() for word in keyword.kwlist),
        *(module.lower() for module in sys.stdlib_module_names),
    }
    if package in taken:
        return f"plugin_name {name!r} is taken by {host} or by Python; try '{host}-{name}'."
    return None


if message := problem():
    sys.exit(message)
