"""Five families in miniature live behind the interface: trained, sampled, scored or refused."""

import math
from pathlib import Path

import pytest
import torch
import zoo_mini
from zoo_mini import toys

import zoo_core as zoo
from zoo_core.errors import NoCapabilityError

pytestmark = pytest.mark.usefixtures("minis")


def fit(model, data, *, steps, lr=1e-2, batch=128, **loss):
    """A training loop of a user's own: nothing of the zoo's but `players` and `Rng`."""
    x, y = data
    players = model.players(**loss)
    optimizers = {k: torch.optim.Adam(p.parameters, lr) for k, p in players.items()}
    for step in range(steps):
        rows = torch.randint(len(x), (batch,))
        for name, player in players.items():
            loss = player.loss((x[rows], None if y is None else y[rows]), zoo.Rng(0, rows), step)
            optimizers[name].zero_grad()
            loss.total.backward(inputs=list(player.parameters))
            optimizers[name].step()
    return model.eval()


def test_each_miniature_fits_on_a_page():
    for file in Path(next(iter(zoo_mini.__path__))).glob("*.py"):
        assert len(file.read_text().splitlines()) <= 100, file.name


def test_autoregressive_learns_bars_and_says_its_likelihood_is_exact():
    x, _ = toys.bars(1024)
    model = fit(zoo.create("mini_ar"), (x, None), steps=300)
    scored = model.log_likelihood(x[:200])
    assert (scored.kind.name, scored.kind.relation) == ("exact", "equal")
    assert scored.mean().nats > -3 * math.log(2) - 0.2  # the truth is -3 ln 2
    drawn = model.sample(200, seed=1)
    assert (drawn == drawn[..., :1]).all((1, 2, 3)).float().mean() > 0.9


def test_flow_learns_moons_and_inverts_itself():
    x, _ = toys.moons(2048)
    model = zoo.create("mini_flow")
    before = model.log_likelihood(x).mean().nats
    scored = fit(model, (x, None), steps=300).log_likelihood(x)
    assert str(scored.kind) == "exact_density"
    assert scored.mean().nats > before + 0.5
    z, there = model.forward_and_ladj(x[:9])
    back, again = model.inverse_and_ladj(z)
    torch.testing.assert_close((back, there + again), (x[:9], torch.zeros(9)), atol=1e-4, rtol=0)


def test_vae_has_a_bound_that_tightens_from_elbo_to_iwae_to_ais():
    x, _ = toys.bars(1024)
    model = fit(zoo.create("mini_vae"), (x, None), steps=400)
    some = x[:64]
    elbo = model.log_likelihood(some)
    iwae = model.log_likelihood(some, method="iwae", k=500)
    ais = model.log_likelihood(some[:4], method="ais", steps=100)
    assert {s.kind.relation for s in (elbo, iwae, ais)} == {"lower"}
    assert elbo.mean().nats < iwae.mean().nats <= 0
    assert iwae.mean().nats > -3 * math.log(2) - 1
    error = (ais.std_err**2 + iwae.std_err[:4] ** 2).sqrt()
    assert ((ais.nats - iwae.nats[:4]).abs() < 5 * error + 0.1).all()
    assert model.sample(3).unique().tolist() == [0, 1]


def test_beta_weighs_the_kl_term_of_the_elbo_loss():
    x, _ = toys.bars(16)
    model = zoo.create("mini_vae")
    weighed = {}
    for beta in (0.0, 1.0):
        (player,) = model.players("elbo", beta=beta).values()
        weighed[beta] = player.loss((x, None), zoo.Rng(0, 16), 0)
    kl = weighed[1.0].terms["kl"]
    torch.testing.assert_close(weighed[1.0].total - weighed[0.0].total, kl)


def test_gan_plays_two_players_and_has_no_likelihood_unless_asked_by_name():
    model = zoo.create("mini_gan")
    assert list(model.players()) == ["discriminator", "generator"]
    x, _ = toys.clusters(1024)
    fit(model, (x, None), steps=400, lr=2e-3)
    radius = model.sample(256).norm(dim=1)
    assert radius.mean() == pytest.approx(1, abs=0.35)
    with pytest.raises(zoo.NoLikelihoodError, match="method='ais'"):
        model.log_likelihood(x[:4])
    scored = model.log_likelihood(x[:4], method="ais", sigma=0.3, steps=50)
    assert scored.kind.relation == "lower"
    assert "sigma=0.3" in str(scored.kind)
    with pytest.raises(zoo.ConfigError, match="ais.sigma is required"):
        model.log_likelihood(x[:4], method="ais")


def test_diffusion_samples_the_class_it_is_given():
    model = fit(zoo.create("mini_diffusion"), toys.clusters(2048), steps=500)
    drawn = model.sample(90, cond=torch.arange(90) % 3, steps=20)
    centres = toys.centres()
    nearest = torch.cdist(drawn, centres).argmin(1)
    assert (nearest == torch.arange(90) % 3).float().mean() > 0.9
    every = torch.cdist(model.sample(60), centres).argmin(1).unique()
    assert every.tolist() == [0, 1, 2]
    with pytest.raises(NoCapabilityError, match="does not sample by itself"):
        model.sample(1, sampler="direct")
    with pytest.raises(zoo.NoLikelihoodError):
        model.log_likelihood(drawn)


def test_part_is_a_model_by_name_that_is_saved_beside_and_loaded_with_the_whole(tmp_path):
    model = zoo.create("mini_stack", base=zoo.create("mini_ar", side=2))
    folder = model.save(tmp_path / "stack")
    assert (folder / "base" / "zoo.json").is_file()
    again = zoo.load(str(folder))
    assert again.base.config.side == 2
    assert torch.equal(again.sample(8, seed=3), model.sample(8, seed=3))
