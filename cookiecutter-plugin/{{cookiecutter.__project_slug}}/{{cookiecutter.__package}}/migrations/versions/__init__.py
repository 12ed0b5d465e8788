"""The revisions of the {{ cookiecutter.__project_slug }} plugin, one file each."""
