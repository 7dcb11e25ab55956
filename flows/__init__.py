"""In what order: one file a flow."""
