"""Likelihoods of five kinds, side by side

What `log_likelihood` returns depends on the family: the exact log p(x), a lower bound, an
estimate, or an error. A number always carries its kind and its relation to log p: `=` equal, `>=`
a lower bound, `~` an estimate. Only numbers of the same relation are comparable.
"""

import matplotlib.pyplot as plt

import zoo_core as zoo
from zoo_diffusion import ODELikelihood

x = zoo.load_dataset("digits").split("test").x[:100]
means = {
    "gated_pixelcnn": zoo.load("gated_pixelcnn.digits").log_likelihood(x).mean(),
    "nsf_coupling": zoo.load("nsf_coupling.digits").log_likelihood(x).mean(),
    "vae, ELBO": zoo.load("vae.digits").log_likelihood(x).mean(),
    "vae, IWAE": zoo.load("vae.digits").log_likelihood(x, method=zoo.IWAE(k=100)).mean(),
    "edm, VLB": zoo.load("edm.digits").log_likelihood(x).mean(),
}
for name, mean in means.items():
    print(f"{name:15} {mean}")

# %%
# The probability-flow ODE gives the same diffusion model another number. It is an estimate, which
# may lie on either side of log p, so it does not belong into one ranking with the bounds.
ode = ODELikelihood(rtol=1e-2, atol=1e-2, precision="model")
estimate = zoo.load("edm.digits").log_likelihood(x[:20], method=ode).mean()
print(f"{'edm, ODE':15} {estimate}")

# %%
# A GAN has no density. The error says so, and what can be measured instead.
try:
    zoo.load("dcgan.digits").log_likelihood(x)
except zoo.NoLikelihoodError as error:
    print(error)

# %%
# Lower bounds of log p are upper bounds of bits per dimension: the true value lies below the bar's
# end by an unknown amount.
figure, axis = plt.subplots(figsize=(7, 2.6), label="Bits per dimension of five likelihoods")
bits = [mean.bits_per_dim for mean in means.values()]
labels = [f"{name}  ({mean.kind.bits_sign})" for name, mean in means.items()]
colours = [
    "tab:blue" if mean.kind.relation == "equal" else "tab:orange" for mean in means.values()
]
axis.barh(labels, bits, color=colours)
axis.bar_label(axis.containers[0], fmt="%.3f", padding=3)
axis.set(xlabel="bits per dimension: exact blue, bounds orange", xlim=(0, 1.15 * max(bits)))
axis.invert_yaxis()
