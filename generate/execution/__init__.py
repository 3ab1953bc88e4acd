"""Where work runs: in process, local workers, a Dask cluster. The only package that imports Dask."""
