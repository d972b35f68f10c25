"""The same digits by five families

A model is loaded by its name, `<architecture>.<tag>`. Sample *i* depends on the seed and on *i*
alone, whatever the batch size. The five models below are of all five families, are bundled with
the package and were trained on the same 8x8 digits.
"""

from _pictures import show_rows

import zoo_core as zoo

names = ("gated_pixelcnn", "nsf_coupling", "vae", "edm", "r3gan")
models = {name: zoo.load(f"{name}.digits") for name in names}
samples = {name: model.sample(12, seed=0) for name, model in models.items()}

# %%
# The first row are real digits that no model has seen.
digits = zoo.load_dataset("digits")
real = {"held-out digits": digits.split("test").x[:12]}
densities = {f"{name} ({models[name].spec.density})": x for name, x in samples.items()}
show_rows({**real, **densities}, digits.event, "Digits drawn by models of five families")
