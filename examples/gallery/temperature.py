"""Temperature, top-k and what they cost

A temperature T replaces each conditional p_k by p_k^(1/T). Below 1 the digits get cleaner and
more alike. They are then no draws of p(x): their mean log p is higher than that of real digits.
"""

from _pictures import show_rows

import zoo_core as zoo
from zoo_autoregressive import Sequential

model = zoo.load("gated_pixelcnn.digits")
samplers = {f"temperature={t:g}": Sequential(temperature=t) for t in (0.3, 0.7, 1.0, 1.3)}
samplers["top_k=3"] = Sequential(top_k=3)
samples = {name: model.sample(200, seed=0, sampler=s) for name, s in samplers.items()}

# %%
samples["held-out digits"] = zoo.load_dataset("digits").split("test").x[:200]
for name, x in samples.items():
    print(f"{name:16} {model.log_likelihood(x).mean()}")

# %%
rows = {name: x[:12] for name, x in samples.items()}
show_rows(rows, model.event, "Digits at four temperatures, and by the three likeliest values")
