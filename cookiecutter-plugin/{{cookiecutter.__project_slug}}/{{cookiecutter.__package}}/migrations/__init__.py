"""The migration tree of the {{ cookiecutter.__project_slug }} plugin."""
