"""Seeds near those of inverted images: paths between two, centroids of several, and SeedSelect.

A seed is a latent z_N, a tensor of d numbers; tensors of seeds come in and a
:class:`~fpinv.seeds.optimisation.SeedSearch` goes out, with the resulting seeds and the losses on
the way to them. All but SeedSelect, which samples images from its seeds, needs no network.
"""
