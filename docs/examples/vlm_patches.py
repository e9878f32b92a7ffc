"""Images of different sizes as the tokens of a vision-language model, through a patch embedding, and back.

    python docs/examples/vlm_patches.py

The tokens are those of transformers' processors, to the bit where nothing is computed: `tests/blocks/test_patchify.py` compares them.
"""

from __future__ import annotations

import torch

import spacebatch


def main() -> None:
    """The orders of three models, an embedding with its gradient, bytes that are normalized on the way, and the way back."""
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

    # from the bytes of a decoded file to what the model reads, in one pass: scaled, normalized, converted, and laid out as tokens
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    photograph = torch.randint(0, 256, (112, 84, 3), dtype=torch.uint8)
    words = {"mean": mean, "std": std, "dtype": torch.bfloat16}
    bytes_in = spacebatch.patchify(photograph, 14, merge=2, temporal=2, layout="HWC", **words)
    normalized = (photograph / 255 - torch.tensor(mean)) / torch.tensor(std)
    by_hand = spacebatch.patchify(normalized.bfloat16(), 14, merge=2, temporal=2, layout="HWC")
    torch.testing.assert_close(bytes_in.tokens, by_hand.tokens)
    print("from bytes", tuple(bytes_in.tokens.shape), bytes_in.tokens.dtype)

    back = spacebatch.unpatchify(qwen.tokens, qwen.grid_thw, 14, merge=2, temporal=2)
    print("restored  ", all(torch.equal(a, b) for a, b in zip(back, images, strict=True)))


if __name__ == "__main__":
    main()
