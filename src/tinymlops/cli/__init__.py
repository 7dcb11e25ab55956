"""The command ``tinymlops``. Modules here import little: ``tinymlops --help`` must answer at once."""
