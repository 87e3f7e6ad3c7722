"""The Triton kernels compile for a GPU that is not there, and keep their tiles in registers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from triton_process import in_a_process, needs_triton

# Rows, columns, and the type in the compiler's words.
COMPILED = {
    "_sinkhorn_kernel": [(8, 8, "fp32"), (8, 8, "fp64"), (32, 64, "fp32"), (128, 128, "fp32")],
    "_adjoint_kernel": [(8, 8, "fp64"), (32, 64, "fp32")],
}
INTEGERS = ("n", "m", "quads", "max_iterations", "limit")


def compiled_sizes() -> dict[str, list[int]]:
    """Compile for an H100; return the bytes of machine code and of spilled registers a thread."""
    from kivuko.transport import triton_sinkhorn

    return {
        f"{name} {rows}x{cols} {kind}": compiled(getattr(triton_sinkhorn, name), rows, cols, kind)
        for name, cases in COMPILED.items()
        for rows, cols, kind in cases
    }


def compiled(kernel: Any, rows: int, cols: int, kind: str) -> list[int]:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from kivuko.transport.triton_sinkhorn import tile

    fixed = {"BALANCED": True, "ROWS": rows, "COLS": cols}
    signature = dict.fromkeys(kernel.arg_names, "fp64") | dict.fromkeys(fixed, "constexpr")
    signature |= {name: "*" + kind for name in kernel.arg_names if name.endswith("_ptr")}
    signature |= {name: "i32" for name in kernel.arg_names if name in INTEGERS}
    signature |= {name: "*i64" for name in kernel.arg_names if name == "spent_ptr"}
    aligned = {(kernel.arg_names.index(name),): [["tt.divisibility", 16]] for name in signature if name[-4:] == "_ptr"}
    dtype = torch.float64 if kind == "fp64" or kernel.__name__ == "_adjoint_kernel" else torch.float32
    warps = tile(torch.empty(0, rows, cols), dtype)[2]
    result = triton.compile(
        ASTSource(kernel, signature, constexprs=fixed, attrs=aligned), target=GPUTarget("cuda", 90, 32),
        options={"num_warps": warps, "enable_fp_fusion": True},
    )  # fmt: skip
    return [len(result.asm["cubin"]), spilled(result.asm["cubin"])]


def spilled(cubin: bytes) -> int:
    """Return the stack that a kernel uses, in bytes a thread: it has no other use than spilled registers."""
    import tempfile

    import triton

    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    if not tool.exists():
        return -1
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        told = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    return int(told.split("STACK:")[1].split()[0])


@needs_triton
def test_compiles_for_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    import triton

    if not (Path(triton.__file__).parent / "backends/nvidia/bin/ptxas").exists():
        pytest.skip("this build of triton brings no ptxas")
    for name, (size, spill) in in_a_process(__file__, tmp_path).items():
        assert size > 0, name
        assert spill <= (1024 if "128x128" in name else 0), (name, spill)


if __name__ == "__main__":
    json.dump(compiled_sizes(), sys.stdout, indent=1)
