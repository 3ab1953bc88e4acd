"""Tasks on graphs: shortest paths, cliques, Laplacian spectra. One file a task."""
