"""Backbones, one file each. This folder is scanned for members: a new file needs no edit elsewhere.

| spec string | weights |
|---|---|
| `pixels` | none: the image itself, flattened, in [0, 1] |
| `features` | a file of precomputed features, `.npz` or `.npy` |
| `mobilenet_v2_uint8` | a file of 8-bit weights, `.npz` |
| `torchvision:resnet50`, `torchvision:resnet50.IMAGENET1K_V1` | torchvision's, or a `.safetensors` file |
| any other name | those of timm's model of that name (`vit_small_patch14_dinov2.lvd142m`), or a `.safetensors` file |
"""
