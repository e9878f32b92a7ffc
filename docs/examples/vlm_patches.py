"""Images of different sizes as the tokens of a vision-language model, through a patch embedding, and back.

    python docs/examples/vlm_patches.py

The tokens are those of transformers' processors, to the bit: `tests/blocks/test_patchify.py` compares them.
"""

from __future__ import annotations

import torch

import spacebatch


def main() -> None:
    """The orders of three models, an embedding with its gradient, and the way back."""
    torch.manual_seed(0)
    images = [torch.rand(3, 56, 84), torch.rand(3, 112, 56), torch.rand(3, 28, 28)]

    # Qwen2-VL: groups of 2 x 2 patches, which the model merges; an image is two equal frames
    qwen = spacebatch.patchify(images, 14, merge=2, temporal=2)
    print("Qwen2-VL  ", tuple(qwen.tokens.shape), "grids", qwen.grid_thw.tolist(), "starts", qwen.cu_seqlens.tolist())

    # SigLIP2 (NaFlex): channels innermost, padded to one length, with a mask
    siglip = spacebatch.patchify(images, 14, token="HWC", max_num_patches=40)
    print("SigLIP2   ", tuple(siglip.tokens.shape), "tokens", siglip.mask.sum(dim=1).tolist())

    # Pixtral and ViT: row by row; the embedding is the model's convolution with its weight as a matrix
    convolution = torch.nn.Conv2d(3, 32, 14, stride=14)
    for image in images:
        image.requires_grad_()
    pixtral = spacebatch.patchify(images, 14)
    embedded = pixtral.tokens @ convolution.weight.flatten(1).T + convolution.bias
    torch.testing.assert_close(embedded[:24], convolution(images[0][None])[0].flatten(1).T)
    embedded.square().sum().backward()
    print(
        "Pixtral   ",
        tuple(embedded.shape),
        "and a gradient for each image:",
        all(image.grad is not None for image in images),
    )

    back = spacebatch.unpatchify(qwen.tokens, qwen.grid_thw, 14, merge=2, temporal=2)
    print("restored  ", all(torch.equal(a, b) for a, b in zip(back, images, strict=True)))


if __name__ == "__main__":
    main()
