"""Whether the weights are numbers at all."""

from __future__ import annotations

from collections.abc import Iterator

from kivuko.doctor.finding import Finding, Patient

CHECK = "weights"


def check_weights(patient: Patient) -> Iterator[Finding]:
    """Look for weights that are no numbers, and for matrices of nothing but zeros."""
    count, broken, empty = 0, [], []
    for name, weight in patient.model.state_dict().items():
        if not weight.is_floating_point():
            continue
        count += weight.numel()
        if not weight.isfinite().all():
            broken.append(name)
        elif weight.ndim > 1 and weight.numel() and not weight.any():
            empty.append(name)
    if broken:
        told = f"{_some(broken)}: not all numbers (NaN or infinite)"
        yield Finding("fault", CHECK, told, "Fetch or make the model again; train with a lower learning rate.")
    if empty:
        told = f"{_some(empty)}: nothing but zeros"
        yield Finding("warning", CHECK, told, "A part was never trained or was not stored: make the model again.")
    if not broken and not empty:
        yield Finding("ok", CHECK, f"{count:,} weights, all of them numbers", figures={"weights": count})


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
