"""The {{ cookiecutter.__project_slug }} plugin for {{ cookiecutter.host }}."""
