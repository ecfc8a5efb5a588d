"""Weights of the bundled model in diffusers format, beside this file; README.md describes them."""
