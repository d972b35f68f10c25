"""Toy data: binary bars, rings and labelled clusters. Each is (x, classes or None)."""

import math

import torch


def bars(n, side=3):
    """Rows of an image are lit together or not, so that p(x) = 2^-side on 2^side images."""
    generator = torch.Generator().manual_seed(0)
    lit = torch.randint(2, (n, 1, side, 1), generator=generator)
    return lit.expand(n, 1, side, side).contiguous(), None


def moons(n):
    """Two noisy half circles."""
    generator = torch.Generator().manual_seed(0)
    angle = math.pi * torch.rand(n, generator=generator)
    side = torch.randint(2, (n,), generator=generator).float()
    x = torch.stack((angle.cos() + side - 0.5, (1 - 2 * side) * angle.sin() + side / 2 - 0.25), 1)
    return x + 0.1 * torch.randn(n, 2, generator=generator), None


def clusters(n, classes=3):
    """Class c is a cluster of standard deviation 0.1 on the unit circle at angle 2 pi c / K."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(classes, (n,), generator=generator)
    centre = centres(classes)[y]
    return centre + 0.1 * torch.randn(n, 2, generator=generator), y


def centres(classes=3):
    angle = 2 * math.pi * torch.arange(classes) / classes
    return torch.stack((angle.cos(), angle.sin()), 1)
