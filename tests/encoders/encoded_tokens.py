"""The content tokens of texts, as MaxSim takes them."""

import torch

from kivuko.transport.alignment import TokenLists


@torch.no_grad()
def encoded_tokens(encoder, texts, mean=None):
    batch = encoder.encode_tokens(texts)
    return TokenLists(batch.content().float().cpu(), batch.mask.sum(1).cpu(), mean)
