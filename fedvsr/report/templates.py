"""Renders the HTML pages of this folder. A page needs no other files."""

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape


def render_template(name: str, **values: object) -> str:
    """Returns a page.

    Args:
        name: The template's file.
        **values: The values that it shows, by name.
    """
    environment = Environment(
        loader=PackageLoader("fedvsr", "report"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name).render(**values)
