"""A deployment is a directory whose configuration says where the data is."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from anabranch.deployment import (
    CONFIG_FILE,
    Deployment,
    create_deployment,
    environment_prefix,
    read_deployment,
)
from anabranch.errors import ConfigurationError
from anabranch.urls import parse_url

NOBODY = 65534


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a test sets is set."""
    for name in [name for name in os.environ if name.startswith("SHOP_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory that does not exist yet."""
    return tmp_path / "deployment"


def _configured(directory: Path, text: str | bytes = "") -> Path:
    directory.mkdir(exist_ok=True)
    (directory / CONFIG_FILE).write_bytes(text.encode() if isinstance(text, str) else text)
    return directory


def _error(directory: Path) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        read_deployment("shop", directory)
    assert caught.value.exit_code == 2
    assert caught.value.state == "The database was not changed."
    return caught.value


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# -- making one


def test_new_deployment_is_private_and_ready(directory: Path) -> None:
    """The directory and its configuration, which may come to hold a password, are the owner's."""
    old = os.umask(0)
    try:
        created = create_deployment("shop", directory / "inner")
    finally:
        os.umask(old)
    assert created == (directory / "inner" / CONFIG_FILE,)
    assert _mode(directory / "inner") == 0o700
    assert _mode(directory / "inner" / CONFIG_FILE) == 0o600
    assert read_deployment("shop", directory / "inner") == Deployment(
        directory / "inner", "sqlite:///./shop.sqlite"
    )


def test_template_says_what_can_be_said(directory: Path) -> None:
    """Every commented line, taken in, is valid and means what it says."""
    (config,) = create_deployment("my-shop", directory)
    text = config.read_text()
    assert "MY_SHOP_SQLALCHEMY_DATABASE_URL" in text
    lines = [line.removeprefix("# ") for line in text.splitlines() if " = " in line or "[" in line]
    config.write_text("\n".join(line for line in lines if not line.startswith("enabled")))
    deployment = read_deployment("my-shop", directory)
    assert deployment.database_url == "sqlite:///./my-shop.sqlite"
    assert (deployment.disabled, deployment.lock_timeout) == (frozenset({"name"}), 300)


def test_empty_directory_becomes_a_deployment_and_keeps_its_mode(directory: Path) -> None:
    """A volume that somebody mounted is taken as it is."""
    directory.mkdir()
    directory.chmod(0o750)
    assert create_deployment("shop", directory) == (directory / CONFIG_FILE,)
    assert _mode(directory) == 0o750


def test_existing_configuration_is_left_alone(directory: Path) -> None:
    """Running the command again creates and changes nothing."""
    _configured(directory, "[sqlalchemy]\ndatabase_url = 'sqlite://'\n")
    assert create_deployment("shop", directory) == ()
    assert (directory / CONFIG_FILE).read_text() == "[sqlalchemy]\ndatabase_url = 'sqlite://'\n"


def test_directory_with_other_things_is_refused(directory: Path) -> None:
    """It is more likely a slip than a deployment; nothing is written there."""
    directory.mkdir()
    (directory / "thesis.txt").touch()
    with pytest.raises(ConfigurationError) as caught:
        create_deployment("shop", directory)
    assert str(caught.value) == f"{directory} has no config.toml, and it is not empty."
    assert f"create an empty {directory / CONFIG_FILE} first" in caught.value.remedy
    assert [path.name for path in directory.iterdir()] == ["thesis.txt"]
    (directory / CONFIG_FILE).touch()
    assert create_deployment("shop", directory) == ()


@pytest.mark.parametrize("below", ["", "inner"])
def test_file_is_no_directory(tmp_path: Path, below: str) -> None:
    """Neither is what would be below it."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"is not a directory|Not a directory"):
        create_deployment("shop", tmp_path / "file" / below)
    assert "Not a directory" in str(_error(tmp_path / "file"))


def test_many_processes_may_create_one_deployment(directory: Path) -> None:
    """One of them does, the others find it; none takes it for a directory with other things."""
    created: list[int] = []
    errors: list[BaseException] = []
    for number in range(30):
        barrier = threading.Barrier(4)

        def create(
            place: Path = directory / str(number), start: threading.Barrier = barrier
        ) -> None:
            start.wait()
            try:
                created.append(len(create_deployment("shop", place)))
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=create) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []
    assert sum(created) == 30


AS_NOBODY = """
import os, sys
from pathlib import Path
from anabranch.deployment import create_deployment, read_deployment
from anabranch.errors import ConfigurationError
os.setgid({nobody}); os.setuid({nobody})  # who need not be able to read Python's own files
for act in (create_deployment, read_deployment):
    try:
        act("shop", Path(sys.argv[1]))
    except ConfigurationError as error:
        print(error, "|", error.remedy)
"""


@pytest.mark.parametrize(
    ("mode", "below", "said"),
    [
        (0o755, "new", "cannot be made a deployment: Permission denied."),
        (0o700, "new", "cannot be made a deployment: Permission denied."),
        (0o755, "", "cannot be made a deployment: Permission denied."),
        (0o711, "", "cannot be made a deployment: Permission denied."),
    ],
    ids=["parent read-only", "parent hidden", "read-only", "unlistable"],
)
def test_place_that_cannot_be_written_is_said_and_not_thrown(
    tmp_path: Path, mode: int, below: str, said: str
) -> None:
    """The user of a service meets root's directory: a sentence and a remedy, no traceback."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root can start a process of a user who may not write here")
    for parent in tmp_path.parents:
        if not parent.stat().st_mode & stat.S_IXOTH:
            if parent.owner() != "root" or not parent.name.startswith(("pytest-", "popen-")):
                pytest.skip(f"other users cannot enter {parent}")
            parent.chmod(0o711)
    tmp_path.chmod(0o711)
    place = tmp_path / "place"
    place.mkdir()
    place.chmod(mode)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY.format(nobody=NOBODY), place / below],
        env={"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    created, read = done.stdout.splitlines()
    assert created.startswith(f"{place / below} {said}")
    assert "Choose a directory that can be written" in created
    assert "is not a deployment" in read or "cannot be read: Permission denied." in read
    assert list(place.iterdir()) == []


def test_configuration_that_cannot_be_read_is_said(directory: Path) -> None:
    """A directory in its place, the one case that holds for root, too."""
    directory.mkdir()
    (directory / CONFIG_FILE).mkdir()
    assert str(_error(directory)) == f"{directory / CONFIG_FILE} cannot be read: Is a directory."


# -- reading one


def test_missing_directory_is_answered_with_the_command_that_makes_it(directory: Path) -> None:
    """Reading creates nothing."""
    error = _error(directory)
    assert str(error) == (
        f"{directory} is not a deployment: there is no {directory / CONFIG_FILE}."
    )
    assert error.remedy == f"Create one with 'shop init-db {directory}'."
    assert not directory.exists()


def test_everything_a_configuration_says_is_taken(directory: Path) -> None:
    """Names are normalised; what belongs to the application is passed over."""
    _configured(
        directory,
        """
        colour = "red"
        [sqlalchemy]
        database_url = "postgresql://db/shop"
        echo = true
        [plugins]
        enabled = ["Shop_Reviews", "billing"]
        disabled = ["Bill.ing"]
        theirs = 1
        [migrations]
        lock_timeout = 1.5
        [mail]
        lock_timout = 3
        """,
    )
    deployment = read_deployment("shop", directory)
    assert deployment == Deployment(
        directory,
        "postgresql://db/shop",
        frozenset({"shop-reviews", "billing"}),
        frozenset({"bill-ing"}),
        1.5,
    )


@pytest.mark.parametrize(
    ("text", "left_out"),
    [
        ("", []),
        ("[plugins]\ndisabled = ['a']", ["a"]),
        ("[plugins]\nenabled = ['a']", ["b", "c"]),
        ("[plugins]\nenabled = []", ["a", "b", "c"]),
        ("[plugins]\nenabled = ['a', 'b']\ndisabled = ['b']", ["b", "c"]),
    ],
)
def test_plugins_take_part_unless_they_are_left_out(
    directory: Path, text: str, left_out: list[str]
) -> None:
    """No list is all, an empty list is none, and what is disabled is out whatever else is said."""
    deployment = read_deployment("shop", _configured(directory, text))
    assert [name for name in "abc" if deployment.leaves_out(name)] == left_out


def test_empty_configuration_is_the_default(directory: Path) -> None:
    """With a byte order mark and the line ends of Windows, if need be."""
    default = Deployment(directory, "sqlite:///./shop.sqlite")
    assert read_deployment("shop", _configured(directory)) == default
    windows = "\ufeff[sqlalchemy]\r\n".encode()
    assert read_deployment("shop", _configured(directory, windows)) == default


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("sqlalchemy = 3", "'sqlalchemy' must be a table, not int."),
        ("[sqlalchemy]\ndatabase_url = 3", "'sqlalchemy.database_url' must be a string, not int."),
        ("plugins = []", "'plugins' must be a table, not list."),
        ("[plugins]\nenabled = 'a'", "'plugins.enabled' must be a list of plugin names, not str."),
        (
            "[plugins]\ndisabled = [1]",
            "'plugins.disabled' must be a list of plugin names, not list.",
        ),
        (
            "[migrations]\nlock_timeout = '5'",
            "'migrations.lock_timeout' must be a number, not str.",
        ),
        (
            "[migrations]\nlock_timeout = true",
            "'migrations.lock_timeout' must be a number, not bool.",
        ),
    ],
)
def test_wrong_type_is_said_with_key_and_file(directory: Path, text: str, what: str) -> None:
    """What it must be and what it is, but never the value: it may be a secret."""
    error = _error(_configured(directory, text))
    assert str(error) == f"{directory / CONFIG_FILE}: {what}"
    assert error.remedy == "Correct that line."


def test_a_statement_cannot_wait_less_than_no_time(directory: Path) -> None:
    assert read_deployment("shop", _configured(directory, "")).statement_lock_timeout is None
    assert (
        read_deployment(
            "shop", _configured(directory, "[migrations]\nstatement_lock_timeout = 0")
        ).statement_lock_timeout
        == 0
    )
    error = _error(_configured(directory, "[migrations]\nstatement_lock_timeout = -1"))
    assert "'migrations.statement_lock_timeout' must be 0 or more, not -1" in str(error)


def test_unknown_key_of_our_section_is_answered_with_the_known_one(directory: Path) -> None:
    """A typo must not pass for a setting."""
    error = _error(_configured(directory, "[migrations]\nlock_timout = 5"))
    assert str(error) == (
        f"{directory / CONFIG_FILE} has an unknown key 'migrations.lock_timout'. "
        "Did you mean 'lock_timeout'?"
    )
    assert error.remedy == (
        "Known keys of [migrations]: lock_timeout, statement_lock_timeout, backup, backups_kept, "
        "backup_command."
    )


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[sqlalchemy\n", r"is not valid TOML: .*line 1"),
        (
            "[sqlalchemy]\ndatabase_url = 'postgresql://u:hunter2@h/d\n",
            r"is not valid TOML: .*end of document",
        ),
        (
            "[sqlalchemy]\ndatabase_url = postgresql://u:hunter2@h/d\n",
            r"is not valid TOML: .*line 2",
        ),
        ("a = 1\na = 'hunter2'\n", "is not valid TOML: "),
        ("# Größe hunter2".encode("latin-1"), r"config\.toml cannot be read: it is not UTF-8\."),
        (b"\xff\xfea\x00", r"config\.toml cannot be read: it is not UTF-8\."),
    ],
)
def test_damaged_file_is_said_with_its_place_and_without_its_secrets(
    directory: Path, text: str | bytes, what: str
) -> None:
    """Where to look, not what stands there."""
    error = _error(_configured(directory, text))
    assert str(directory / CONFIG_FILE) in str(error)
    assert "hunter2" not in f"{error} {error.remedy}"
    with pytest.raises(ConfigurationError, match=what):
        raise error


# -- the environment


def test_misspelt_key_of_a_shared_section_is_said_and_a_foreign_one_is_left_alone(
    directory: Path,
) -> None:
    """`disable = [...]` would otherwise run the plugin that it means to leave out."""
    directory.mkdir()
    config = directory / "config.toml"
    config.write_text('[plugins]\ndisable = ["a"]\n', encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"'plugins\.disable'.*Did you mean 'disabled'"):
        read_deployment("shop", directory)
    config.write_text("[plugins]\nsettings = 1\n[sqlalchemy]\necho = true\n", encoding="utf-8")
    assert read_deployment("shop", directory).disabled == frozenset()


def test_environment_wins_over_the_file(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the URL; the rest of the file still counts. An empty variable is none."""
    _configured(
        directory, "[sqlalchemy]\ndatabase_url = 'sqlite:///a'\n[plugins]\ndisabled = ['x']\n"
    )
    monkeypatch.setenv("SHOP_SQLALCHEMY_DATABASE_URL", "sqlite:///b")
    deployment = read_deployment("shop", directory)
    assert (deployment.database_url, deployment.disabled) == (
        "sqlite:///b",
        frozenset({"x"}),
    )
    monkeypatch.setenv("SHOP_SQLALCHEMY_DATABASE_URL", "")
    assert read_deployment("shop", directory).database_url == "sqlite:///a"


def test_environment_wins_over_a_wrong_line_of_the_file(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not used cannot be wrong."""
    _configured(directory, "[sqlalchemy]\ndatabase_url = 3\n")
    monkeypatch.setenv("SHOP_SQLALCHEMY_DATABASE_URL", "sqlite:///b")
    assert read_deployment("shop", directory).database_url == "sqlite:///b"


def test_directory_needs_no_file_where_the_environment_says_it_all(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container has no configuration to mount; the directory must be there all the same."""
    monkeypatch.setenv("SHOP_SQLALCHEMY_DATABASE_URL", "sqlite:///b")
    assert "is not a deployment" in str(_error(directory))
    directory.mkdir()
    (directory / "data").touch()
    assert create_deployment("shop", directory) == ()
    assert read_deployment("shop", directory) == Deployment(directory, "sqlite:///b")


def test_configuration_may_lie_elsewhere(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``SHOP_CONFIG_FILE`` is read instead, and no second one is put into the directory."""
    elsewhere = tmp_path / "etc.toml"
    elsewhere.write_text("[migrations]\nlock_timeout = 7")
    monkeypatch.setenv("SHOP_CONFIG_FILE", str(elsewhere))
    for _ in range(2):
        assert create_deployment("shop", directory) == ()
    assert list(directory.iterdir()) == []
    deployment = read_deployment("shop", directory)
    assert (deployment.directory, deployment.lock_timeout) == (directory, 7)


def test_variable_that_names_no_file_is_said(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``init-db`` would not make that file, so it is not the remedy; and it is not passed over."""
    monkeypatch.setenv("SHOP_CONFIG_FILE", str(tmp_path / "gone.toml"))
    monkeypatch.setenv("SHOP_SQLALCHEMY_DATABASE_URL", "sqlite:///b")
    directory.mkdir()
    error = _error(directory)
    assert str(error) == f"There is no {tmp_path / 'gone.toml'}."
    assert error.remedy == "Correct SHOP_CONFIG_FILE, or unset it."


@pytest.mark.parametrize(
    ("application", "prefix"),
    [("shop", "SHOP"), ("my-shop", "MY_SHOP"), ("my.shop_2", "MY_SHOP_2")],
)
def test_variables_begin_with_the_name_of_the_application(application: str, prefix: str) -> None:
    """In letters a shell can say."""
    assert environment_prefix(application) == prefix


def test_relative_file_is_relative_to_the_deployment_from_any_directory(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the command is called, and however the directory is spelt, it is the same file."""
    create_deployment("shop", directory)
    (tmp_path / "link").symlink_to(directory)
    found = set()
    for cwd, spelling in [
        (tmp_path, "deployment"),
        (tmp_path, "./link"),
        (directory, "."),
        (Path("/"), str(directory)),
        (directory.parent, "deployment/../deployment/"),
    ]:
        monkeypatch.chdir(cwd)
        deployment = read_deployment("shop", Path(spelling))
        found.add(parse_url(deployment.database_url, deployment.directory).database)
    assert found == {str(directory / "shop.sqlite")}


@pytest.mark.parametrize("section", ["plugin", "migration", "sqlalchmy", "Plugins"])
def test_misspelt_section_is_said(directory: Path, section: str) -> None:
    """One of the application's own passes, also a similar one beside ours."""
    config = directory / "config.toml"
    directory.mkdir()
    config.write_text(f"[{section}]\n")
    with pytest.raises(ConfigurationError, match=rf"has a section \[{section}\]. Did you mean"):
        read_deployment("shop", directory)
    config.write_text(f"[{section}]\n[plugins]\n[migrations]\n[sqlalchemy]\n[users]\n")
    read_deployment("shop", directory)
