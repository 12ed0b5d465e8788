"""The cookiecutter template, baked as by its command, but with no trace in the home directory."""

from __future__ import annotations

from pathlib import Path

from cookiecutter.main import cookiecutter  # type: ignore[import-untyped]

TEMPLATE = Path(__file__).resolve().parents[2] / "cookiecutter-plugin"


def bake(directory: Path, **answers: str) -> Path:
    """Answer the template's questions; returns the project, a new directory in *directory*.

    :raises cookiecutter.exceptions.FailedHookException: if an answer is refused.
    """
    own = directory.parent / f"{directory.name}-cookiecutter"
    own.mkdir(exist_ok=True)
    config = own / "config.yaml"
    config.write_text(f"replay_dir: {str(own)!r}\ncookiecutters_dir: {str(own)!r}\n")
    project = cookiecutter(
        str(TEMPLATE),
        no_input=True,
        output_dir=str(directory),
        config_file=str(config),
        extra_context=answers,
    )
    return Path(project)
