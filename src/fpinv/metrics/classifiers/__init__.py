"""Networks that say what an image shows: judges of edits, interpolations and rare concepts.

Images (B, 3, H, W) in [-1, 1] come in; classes, attributes or features go out.
"""
