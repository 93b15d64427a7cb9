"""What this processor multiplies by itself."""

import torch


def has_amx() -> bool:
    """Whether it has AMX, which multiplies tiles of bfloat16."""
    return bool(torch.cpu._is_amx_tile_supported())


def has_bfloat16() -> bool:
    """Whether it multiplies bfloat16 (AMX or AVX512-BF16), which halves a model's time or better."""
    return has_amx() or bool(torch.cpu._is_avx512_bf16_supported())
