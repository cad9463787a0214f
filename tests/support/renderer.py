"""Loads triton, where it is installed, before any test of the process draws a picture.

Software OpenGL and triton each bring an LLVM: after a picture was drawn, the first import of triton
ends the process with a segmentation fault. The other order works.
"""

import importlib.util

if importlib.util.find_spec("triton") is not None:
    import triton  # noqa: F401
