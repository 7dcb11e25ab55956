"""Tables for a terminal, Markdown, pictures and one offline HTML page, all from one `BuildReport`.

Drawing and templating packages are imported by the modules that use them: import those by name.
"""

from tinymlops.reporting.values import (
    BuildReport,
    RecipeFailure,
    RecipesFailedError,
    measurements_json,
    raise_for_failures,
    selection_json,
)

__all__ = [
    "BuildReport",
    "RecipeFailure",
    "RecipesFailedError",
    "measurements_json",
    "raise_for_failures",
    "selection_json",
]
