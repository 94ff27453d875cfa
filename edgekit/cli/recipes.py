"""``edgekit recipes list|show``."""

from __future__ import annotations

from typing import Annotated

import typer

from edgekit.cli.terminal import AsJson, print_json, print_table, say

app = typer.Typer(help="What can be done to a model: list the built-in recipes, show one.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the built-in recipes."""
    from edgekit.plan import DEFAULT_RECIPE
    from edgekit.recipe import read_recipe, recipe_files

    recipes = [read_recipe(name) for name in recipe_files()]
    if as_json:
        print_json(recipes)
        return
    rows = [
        (one.name + (" (default)" if one.name == DEFAULT_RECIPE else ""), one.title, ", ".join(step["pass"] for step in one.step) or "-")
        for one in recipes
    ]
    print_table(("name", "title", "steps"), rows)


@app.command("show")
def show(name: Annotated[str, typer.Argument(help="Name of a built-in recipe, or a .toml file.")], as_json: AsJson = False) -> None:
    """Show a recipe; a built-in one as the file it is, to copy and change."""
    from edgekit.recipe import read_recipe, recipe_files

    recipe = read_recipe(name)
    if as_json:
        print_json(recipe)
    elif name in recipe_files():
        say(recipe_files()[name].read_text(encoding="utf-8").rstrip())
    else:
        print_json(recipe)
