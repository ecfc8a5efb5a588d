"""The bundled model: weights in diffusers format beside this file; see README.md."""
