"""Networks that say what a picture shows: judges of edits, interpolations, rare concepts."""
