"""From a trained network to a variant: one file a technique, and recipes that combine them."""
