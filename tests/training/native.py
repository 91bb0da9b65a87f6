"""What tests of the compiled code share."""

import ctypes
import mmap
import os

import torch
from torch import Tensor

from service.training.native.library import Library


def instruction_sets(library: Library) -> list[str]:
    """All that this processor has."""
    found = ["base", "avx2", "avx512"]
    return found[: found.index(library.instructions) + 1]


def guarded(array: Tensor) -> tuple[Tensor, mmap.mmap]:
    """Copy an array to the end of a page after which nothing may be read."""
    n_bytes = array.numel() * array.element_size()
    its_bytes = -(-n_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
    pages = mmap.mmap(-1, its_bytes + mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    assert protect(address + its_bytes, mmap.PAGESIZE, 0) == 0, os.strerror(ctypes.get_errno())
    copy = torch.frombuffer(pages, dtype=array.dtype, count=array.numel(), offset=its_bytes - n_bytes)
    copy.copy_(array.flatten())
    return copy.view(array.shape), pages
