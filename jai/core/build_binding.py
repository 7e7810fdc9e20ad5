"""Writes the C source of the extension module `jai._core` from the core's one header."""

from __future__ import annotations

import sys

from cffi import FFI


def main(header: str, output: str) -> None:
    """Emit the binding; the cdef is the header without its preprocessor lines."""
    with open(header, encoding="utf-8") as file:
        declarations = "".join(line for line in file if not line.startswith("#"))
    ffi = FFI()
    ffi.cdef(declarations)
    ffi.set_source("jai._core", '#include "jai.h"')
    ffi.emit_c_code(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
