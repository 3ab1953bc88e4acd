"""How random problems are sampled: generators, matrices, spectra, noise, bits, integers."""
