"""Compress digits, bit for bit

A probability is a code length: a model that knows log p(x) exactly can store x in -log2 p(x)
bits. The model is not part of the file, so the gain is real only for many pictures of the same
kind.
"""

import bz2
import io
import math

from _pictures import show_rows
from PIL import Image

import zoo_core as zoo

model = zoo.load("gated_pixelcnn.digits")
x = zoo.load_dataset("digits").split("test").x[:200]
packed = zoo.compress(model, x, name="gated_pixelcnn.digits")
nats = float(model.log_likelihood(x).nats.sum())
print(f"-log2 p(x) is {-nats / math.log(2) / 8:.0f} bytes; the file has {len(packed)}")

# %%
# The codecs in common use see all digits in one file or one mosaic.
mosaic = x.byte().view(10, 20, 8, 8).transpose(1, 2).reshape(80, 160)
sizes = {"zoo.compress": len(packed), "bz2": len(bz2.compress(mosaic.numpy().tobytes()))}
for name, options in {
    "PNG": {"optimize": True},
    "WebP": {"lossless": True, "quality": 100},
}.items():
    file = io.BytesIO()
    Image.fromarray(mosaic.numpy() * 15).save(file, name, **options)
    sizes[name] = file.tell()
for name, size in sizes.items():
    print(f"{name:13} {size:6} bytes, {8 * size / x.numel():.2f} bits per pixel")

# %%
back = zoo.decompress(packed, model)
print("the same digits:", bool((back == x).all()))
show_rows({"in": x[:12], "out of the file": back[:12]}, model.event, "Digits before and after")
