"""HTML and CSS that lie beside the code of a package, as text."""

from __future__ import annotations

from importlib import resources


def resource(package: str, name: str) -> str:
    """The text of the file `name` in `package`, such as ("accessory.page", "page.css")."""
    return (resources.files(package) / name).read_text(encoding="utf-8")
