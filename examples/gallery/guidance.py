"""How guidance changes colour samples

Classifier-free guidance moves the denoised picture away from what the network predicts without
the label: x = D(x_t) + (s - 1) (D(x_t, c) - D(x_t)) for s > 1. Samples become more typical of
their label and less varied, and they no longer follow the distribution whose likelihood is
scored.
"""

from _pictures import show_rows

import zoo_core as zoo
from zoo_diffusion import DPMpp2M

model = zoo.load("edm.emoji")
rows = {
    f"guidance_scale={scale:g}": model.sample(
        6,
        seed=3,
        cond={"group": "smileys", "style": "fluent"},
        sampler=DPMpp2M(steps=10, guidance_scale=scale),
    )
    for scale in (1.0, 2.0, 4.0)
}
show_rows(rows, model.event, "Emoji with growing guidance from the same noise")
