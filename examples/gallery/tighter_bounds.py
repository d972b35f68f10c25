"""A bound that tightens with samples

The ELBO of a VAE is below log p(x) by the error of its posterior. Importance weighting with k
draws (IWAE) never loosens the bound on average, and comes to log p(x) as k grows.
"""

import matplotlib.pyplot as plt

import zoo_core as zoo

model = zoo.load("vae.digits")
x = zoo.load_dataset("digits").split("test").x[:60]
ks = (1, 4, 16, 64, 256, 1024)
means = [model.log_likelihood(x, method=zoo.IWAE(k=k), seed=0).mean() for k in ks]
for mean in means:
    print(mean)

# %%
figure, axis = plt.subplots(figsize=(5.5, 2.8), label="The bound of a VAE by number of draws")
axis.plot(ks, [mean.nats for mean in means], marker="o")
axis.set(xlabel="k, draws from q(z|x)", ylabel="log p(x) is at least (nats)", xscale="log")
axis.set_xticks(ks, [str(k) for k in ks])
axis.minorticks_off()
