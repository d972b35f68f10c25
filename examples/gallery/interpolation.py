"""Between two emoji, by latents

A generator maps latents z to events. Draws of a Gaussian prior lie on a shell, so the path
between two of them follows a great circle (`slerp`, the default); the labels stay the same.
"""

from _pictures import show_rows

import zoo_core as zoo
from zoo_core import latent
from zoo_core.plugin import Rng

model = zoo.load("r3gan.emoji")
z = model.prior(6).sample(Rng(5, 6), stream="z")
path = latent.interpolate(z[:3], z[3:], steps=10)  # (3, 10, L)

# %%
styles = ("noto", "twemoji", "fluent")
rows = {
    f"group=smileys, style={style}": latent.decode(
        model, z_t, cond={"group": "smileys", "style": style}
    )
    for style, z_t in zip(styles, path, strict=True)
}
show_rows(rows, model.event, "Three paths between emoji")
