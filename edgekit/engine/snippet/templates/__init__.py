"""The snippets' texts, with ``$name`` where a fact goes."""

from importlib.resources import files
from string import Template


def template(name: str) -> Template:
    """The text of ``NAME.tmpl``."""
    return Template(files(__name__).joinpath(f"{name}.tmpl").read_text(encoding="utf-8"))
