"""The page for people: ``/fleet``. Drawn on the server; nothing is fetched from elsewhere and no script runs."""
